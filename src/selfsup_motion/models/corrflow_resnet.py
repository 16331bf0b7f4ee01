"""CorrFlow's image encoder: a ResNet that keeps a quarter of the resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.convolution import Conv3x3, FoldedSequential
from selfsup_motion.models.encoder import ImageEncoder
from selfsup_motion.ops.color import unit_lab

_LUMA = (0.299, 0.587, 0.114)


def _conv3x3(in_channels: int, channels: int, stride: int) -> nn.Conv2d:
    if stride == 1:
        return Conv3x3(in_channels, channels, bias=False)
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; the parts are named as in the authors' checkpoints."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.left = FoldedSequential(
            _conv3x3(in_channels, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            _conv3x3(channels, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = FoldedSequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h / stride, w / stride)."""
        return F.relu(self.left(x).add_(self.shortcut(x)), inplace=True)


class CorrFlowResNet(ImageEncoder):
    """ResNet of stride 4 without pooling, and a projection (Lai & Xie 2019, section 4.1).

    With the default arguments, names and shapes are those of the authors' checkpoints (without
    their prefix `module.`).

    Args:
        widths: channels of the residual layers; the second one has stride 2, as has the stem.
        blocks: residual blocks of each layer.
        out_channels: channels of the projection.
        grey: see the image without its colours (the paper's ablation, and Vondrick et al. 2018).
        lab: see the image in Lab, as `ops.color.unit_lab` gives it (MAST, Lai et al. 2020).

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel, 4.
        input_mean, input_std: of RGB in [0, 255]; it sees RGB in [0, 1].
    """

    input_mean, input_std = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)
    stride = 4

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 256),
        blocks: int = 2,
        out_channels: int = 64,
        grey: bool = False,
        lab: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1 or blocks < 1 or out_channels < 1:
            raise ValueError(
                f"CorrFlowResNet needs at least two widths and positive sizes, got widths="
                f"{list(widths)}, blocks={blocks}, out_channels={out_channels}"
            )
        if grey and lab:
            raise ValueError("grey and lab are both true: an image without colours has no Lab")
        self.out_channels, self.grey, self.lab = out_channels, grey, lab
        stem = FoldedSequential(
            nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.feature_extraction = nn.Sequential()
        self.feature_extraction.add_module("conv1", stem)
        channels = widths[0]
        for number, width in enumerate(widths, start=1):
            first = _Block(channels, width, stride=2 if number == 2 else 1)
            rest = (_Block(width, width, stride=1) for _ in range(blocks - 1))
            self.feature_extraction.add_module(f"layer{number}", nn.Sequential(first, *rest))
            channels = width
        self.post_convolution = Conv3x3(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, out_channels, ceil(H / 4), ceil(W / 4))."""
        if self.grey:
            luma = sum(weight * x[:, c : c + 1] for c, weight in enumerate(_LUMA))
            assert isinstance(luma, Tensor)
            x = luma.expand_as(x)
        return self.embed(unit_lab(x) if self.lab else x)

    def embed(self, x: Tensor) -> Tensor:
        """As `forward`, for an image in the colours that the network sees: Lab, with `lab`."""
        embedding: Tensor = self.post_convolution(self.feature_extraction(x))
        return embedding

"""A slim image encoder for matching: quarter resolution, with a look at an eighth."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.convolution import FoldedSequential
from selfsup_motion.models.encoder import ImageEncoder


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.convolutions = FoldedSequential(
            nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = FoldedSequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolutions(x) + self.shortcut(x), inplace=True)


class PyramidEncoder(ImageEncoder):
    """Residual layers at strides 4 and 8, joined at stride 4 (Lin et al. 2017, one level).

    0.4 million weights by default; an image of 360 x 640 takes some 0.05 CPU-seconds.

    Args:
        widths: channels at strides 2, 4 and 8.
        blocks: residual blocks at strides 4 and 8.
        out_channels: of the output.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel, 4.
        input_mean, input_std: ImageNet's, for RGB in [0, 255]; it sees (image - mean) / std.
    """

    input_mean, input_std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    stride = 4

    def __init__(
        self, widths: Sequence[int] = (24, 48, 96), blocks: int = 2, out_channels: int = 64
    ) -> None:
        super().__init__()
        if len(widths) != 3 or min(widths) < 1 or blocks < 1 or out_channels < 1:
            raise ValueError(
                f"PyramidEncoder needs three positive widths, got widths={list(widths)}, "
                f"blocks={blocks}, out_channels={out_channels}"
            )
        stem, quarter, eighth = widths
        self.out_channels = out_channels
        self.stem = FoldedSequential(
            nn.Conv2d(3, stem, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        )
        self.quarter = self._layer(stem, quarter, blocks)
        self.eighth = self._layer(quarter, eighth, blocks)
        self.lateral = nn.Conv2d(quarter, out_channels, 1)
        self.top = nn.Conv2d(eighth, out_channels, 1)
        self.output = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _layer(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
        rest = (_Block(channels, channels, 1) for _ in range(blocks - 1))
        return nn.Sequential(_Block(in_channels, channels, 2), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, out_channels, ceil(H / 4), ceil(W / 4))."""
        quarter = self.quarter(self.stem(x))
        above = self.top(self.eighth(quarter))
        above = F.interpolate(above, size=quarter.shape[-2:], mode="bilinear", align_corners=False)
        features: Tensor = self.output(self.lateral(quarter) + above)
        return features

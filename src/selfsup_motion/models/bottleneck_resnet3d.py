"""3-D ResNets of bottlenecks, as CMD trains them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.encoder import ClipEncoder
from selfsup_motion.models.resnet3d import factored_channels

_EXPANSION = 4


class BottleneckResNet3d(ClipEncoder):
    """R3D-26 or R(2+1)D-26: a stem and four stages of two bottlenecks.

    The stem halves the sides, and a maximum halves them again; the later stages halve sides and
    time. (The paper gives the sizes of the outputs; this is the usual network that has them.)

    Args:
        kind: "3d" has whole 3×3×3 convolutions, "2+1d" factors them into space and time.
        blocks: bottlenecks of each stage.
        widths: channels inside the bottlenecks of each stage; four times as many between them.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        time_stride: input frames per output frame.
        joined_stride: likewise of `forward_joined`.
        joined_time_stride: likewise of `forward_joined`.

    Raises:
        ValueError: not four stages.
    """

    input_mean = (114.75, 114.75, 114.75)
    input_std = (57.375, 57.375, 57.375)
    stride = 32
    time_stride = 8
    joined_stride = 16
    joined_time_stride = 8

    def __init__(
        self,
        kind: Literal["3d", "2+1d"] = "2+1d",
        *,
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        if not len(blocks) == len(widths) == 4:
            raise ValueError(
                "encoder.blocks and encoder.widths have one entry for each of four stages, got "
                f"{len(blocks)} and {len(widths)} entries"
            )
        self.stem = nn.Sequential(
            *_convolution(kind, 3, widths[0], (3, 7, 7), (1, 2, 2)),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        channels = [widths[0], *(_EXPANSION * width for width in widths)]
        for i, (before, after) in enumerate(pairwise(channels)):
            stride = 1 if i == 0 else 2
            stage = [
                _Bottleneck(kind, after if n else before, widths[i], 1 if n else stride)
                for n in range(blocks[i])
            ]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
        self.out_channels = channels[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised clips → (B, out_channels, T / 8, H / 32, W / 32)."""
        return self._last_two(x)[1]

    def forward_joined(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) → (B, out_channels, T / 8, H / 16, W / 16): the last stage enlarged, plus
        the stage before, whose even and odd moments lie side by side as channels."""
        third, fourth = self._last_two(x)
        odd = third[:, :, 1::2]
        if odd.shape[2] < third[:, :, ::2].shape[2]:  # an odd number of moments: the last one twice
            odd = torch.cat([odd, third[:, :, -1:]], 2)
        both = torch.cat([third[:, :, ::2], odd], 1)
        return both + F.interpolate(fourth, both.shape[2:], mode="nearest")

    def _last_two(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        for name in ("layer1", "layer2", "layer3"):
            x = self.get_submodule(name)(x)
        return x, self.get_submodule("layer4")(x)


class _Bottleneck(nn.Module):
    def __init__(self, kind: Literal["3d", "2+1d"], before: int, width: int, stride: int) -> None:
        super().__init__()
        after, strides = _EXPANSION * width, (stride, stride, stride)
        self.branch = nn.Sequential(
            nn.Conv3d(before, width, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            *_convolution(kind, width, width, (3, 3, 3), strides),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, after, 1, bias=False),
            nn.BatchNorm3d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv3d(before, after, 1, strides, bias=False), nn.BatchNorm3d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.branch(x))


def _convolution(
    kind: Literal["3d", "2+1d"],
    before: int,
    after: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
) -> list[nn.Module]:
    """A convolution and its normalisation, whole or factored."""
    padding = kernel[0] // 2, kernel[1] // 2, kernel[2] // 2
    if kind == "3d":
        return [
            nn.Conv3d(before, after, kernel, stride, padding, bias=False),
            nn.BatchNorm3d(after),
        ]
    between = factored_channels(before, after, kernel)
    return [
        nn.Conv3d(
            before, between, (1, *kernel[1:]), (1, *stride[1:]), (0, *padding[1:]), bias=False
        ),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(
            between, after, (kernel[0], 1, 1), (stride[0], 1, 1), (padding[0], 0, 0), bias=False
        ),
        nn.BatchNorm3d(after),
    ]

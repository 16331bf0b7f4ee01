"""3-D ResNet encoders of the MoSI paper, with the names of its published weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.encoder import ClipEncoder

Triple = tuple[int, int, int]
"""(time, height, width)."""
Convolution = Literal["2d3d", "2+1d"]


def _norm(channels: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(channels, eps=1e-3)


def _conv(in_channels: int, out_channels: int, kernel: Triple, stride: Triple) -> nn.Conv3d:
    padding = kernel[0] // 2, kernel[1] // 2, kernel[2] // 2
    return nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)


def factored_channels(in_channels: int, out_channels: int, kernel: Triple) -> int:
    """Channels between the spatial and the temporal half that keep the number of parameters."""
    time, area = kernel[0], kernel[1] * kernel[2]
    return (time * area * in_channels * out_channels) // (area * in_channels + time * out_channels)


def convolution(
    kind: Convolution,
    name: str,
    in_channels: int,
    out_channels: int,
    kernel: Triple,
    stride: Triple,
) -> OrderedDict[str, nn.Module]:
    """A convolution and its normalisation, whole or factored into space and time.

    Args:
        kind: "2d3d" is one convolution; "2+1d" is 1×k×k, normalisation, ReLU, t×1×1.
        name: of the modules: `a`, `a_bn`, or `a1`, `a1_bn`, `a1_relu`, `a2`, `a2_bn`.
        in_channels: of the input.
        out_channels: of the output.
        kernel: whole size.
        stride: whole stride.
    """
    if kind == "2d3d":
        return OrderedDict(
            [
                (name, _conv(in_channels, out_channels, kernel, stride)),
                (f"{name}_bn", _norm(out_channels)),
            ]
        )
    between = factored_channels(in_channels, out_channels, kernel)
    space, time = (1, *kernel[1:]), (kernel[0], 1, 1)
    return OrderedDict(
        [
            (f"{name}1", _conv(in_channels, between, space, (1, *stride[1:]))),
            (f"{name}1_bn", _norm(between)),
            (f"{name}1_relu", nn.ReLU(inplace=True)),
            (f"{name}2", _conv(between, out_channels, time, (stride[0], 1, 1))),
            (f"{name}2_bn", _norm(out_channels)),
        ]
    )


class BasicBlock3d(nn.Module):
    """Two convolutions and a shortcut."""

    short_cut: nn.Module | None

    def __init__(
        self, kind: Convolution, in_channels: int, channels: int, kernel: Triple, stride: Triple
    ) -> None:
        super().__init__()
        self.short_cut = None
        if in_channels != channels or prod(stride) > 1:
            self.short_cut = _conv(in_channels, channels, (1, 1, 1), stride)
            self.short_cut_bn = _norm(channels)
        layers = convolution(kind, "a", in_channels, channels, kernel, stride)
        layers["a_relu"] = nn.ReLU(inplace=True)
        layers |= convolution(kind, "b", channels, channels, kernel, (1, 1, 1))
        self.conv_branch = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, t, h, w) -> (B, channels, t, h, w), each divided by its stride."""
        shortcut = x if self.short_cut is None else self.short_cut_bn(self.short_cut(x))
        return F.relu(shortcut + self.conv_branch(x), inplace=True)


class ResNet3d(ClipEncoder):
    """Stem and four stages of basic blocks.

    `kind="2d3d"` has kernels of one frame in the stem and the first two stages, and of three in the
    others (R-2D3D-18 of the paper: R. Han et al., Dense Predictive Coding, 2019). `kind="2+1d"`
    factors every convolution into space and time (R(2+1)D-10: Tran et al. 2018).

    Args:
        kind: see above.
        blocks: blocks of each stage.
        widths: channels of each stage.
        strides: (time, space) of each stage's first block.
        kernel_times: frames that the convolutions of each stage span.
        stem_time: frames that the stem's convolution spans.
        stem_pool: whether a 3×3 maximum with stride 2 follows the stem.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        time_stride: input frames per output frame.

    Raises:
        ValueError: lists of different lengths.
    """

    input_mean = (114.75, 114.75, 114.75)
    input_std = (57.375, 57.375, 57.375)

    def __init__(
        self,
        *,
        kind: Convolution,
        blocks: Sequence[int],
        widths: Sequence[int],
        strides: Sequence[tuple[int, int]],
        kernel_times: Sequence[int],
        stem_time: int,
        stem_pool: bool,
    ) -> None:
        super().__init__()
        if not len(blocks) == len(widths) == len(strides) == len(kernel_times) > 0:
            raise ValueError(
                "encoder.blocks, widths, strides and kernel_times have one entry per stage, got "
                f"{len(blocks)}, {len(widths)}, {len(strides)} and {len(kernel_times)} entries"
            )
        stem = convolution(kind, "a", 3, widths[0], (stem_time, 7, 7), (1, 2, 2))
        stem["a_relu"] = nn.ReLU(inplace=True)
        if stem_pool:
            stem["maxpool"] = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.conv1 = nn.Sequential(stem)
        self.stages: list[str] = []
        channels = [widths[0], *widths]
        for i, (before, width) in enumerate(pairwise(channels)):
            time, space = strides[i]
            kernel = kernel_times[i], 3, 3
            stage: OrderedDict[str, nn.Module] = OrderedDict(
                (
                    f"res_{n + 1}",
                    BasicBlock3d(
                        kind,
                        width if n else before,
                        width,
                        kernel,
                        (1, 1, 1) if n else (time, space, space),
                    ),
                )
                for n in range(blocks[i])
            )
            self.stages.append(f"conv{i + 2}")
            self.add_module(self.stages[-1], nn.Sequential(stage))
        self.out_channels = widths[-1]
        self.stride = (4 if stem_pool else 2) * prod(space for _, space in strides)
        self.time_stride = prod(time for time, _ in strides)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised clips -> (B, out_channels, t, h, w)."""
        x = self.conv1(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x

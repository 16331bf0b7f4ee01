"""The slow pathway of SlowFast as an encoder of clips (Feichtenhofer et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.encoder import ClipEncoder

_EXPANSION = 4


class SlowResNet(ClipEncoder):
    """ResNet of bottlenecks in which only the last stages look at several frames.

    Time is never strided: T frames give T times. The stage's first 1×1 convolutions span
    `kernel_times` frames, the stride is in the 3×3 ones.

    Args:
        blocks: bottlenecks of each stage; [3, 4, 6, 3] is Slow-R50.
        width: channels of the stem.
        kernel_times: frames that the convolutions of each stage span.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        time_stride: input frames per output frame.

    Raises:
        ValueError: lists of different lengths.
    """

    input_mean = (114.75, 114.75, 114.75)
    input_std = (57.375, 57.375, 57.375)
    time_stride = 1

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        kernel_times: Sequence[int] = (1, 1, 3, 3),
    ) -> None:
        super().__init__()
        if not len(blocks) == len(kernel_times) > 0:
            raise ValueError(
                "encoder.blocks and encoder.kernel_times have one entry per stage, got "
                f"{len(blocks)} and {len(kernel_times)} entries"
            )
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        stages: list[nn.Module] = []
        channels, inner = width, width
        for i, (count, time) in enumerate(zip(blocks, kernel_times, strict=True)):
            stage = []
            for n in range(count):
                stride = 2 if i > 0 and n == 0 else 1
                stage.append(Bottleneck3d(channels, inner, time, stride))
                channels = inner * _EXPANSION
            stages.append(nn.Sequential(*stage))
            inner *= 2
        self.stages = nn.Sequential(*stages)
        self.out_channels = channels
        self.stride = 2 << len(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised clips -> (B, out_channels, T, h, w)."""
        features: Tensor = self.stages(self.stem(x))
        return features


class Bottleneck3d(nn.Module):
    """1×1 over several frames, 3×3, 1×1, and a shortcut."""

    def __init__(self, in_channels: int, inner: int, time: int, stride: int) -> None:
        super().__init__()
        out = inner * _EXPANSION
        steps = (1, stride, stride)
        self.branch = nn.Sequential(
            nn.Conv3d(in_channels, inner, (time, 1, 1), padding=(time // 2, 0, 0), bias=False),
            nn.BatchNorm3d(inner),
            nn.ReLU(inplace=True),
            nn.Conv3d(inner, inner, (1, 3, 3), steps, (0, 1, 1), bias=False),
            nn.BatchNorm3d(inner),
            nn.ReLU(inplace=True),
            nn.Conv3d(inner, out, 1, bias=False),
            nn.BatchNorm3d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out, 1, steps, bias=False), nn.BatchNorm3d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, T, h, w) -> (B, 4 · inner, T, h / stride, w / stride)."""
        return F.relu(self.branch(x) + self.shortcut(x), inplace=True)

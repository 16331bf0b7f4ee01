"""A 3-D ResNet that trains on a laptop."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from selfsup_motion.models.encoder import ClipEncoder
from selfsup_motion.models.resnet3d import BasicBlock3d


class SmallResNet3d(ClipEncoder):
    """Stem of 3×5×5 and one basic block of 3×3×3 convolutions per stage.

    Args:
        width: channels of the stem.
        widths: channels of the stages.
        strides: (time, space) of the stages.

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
        self, *, width: int, widths: Sequence[int], strides: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        if not len(widths) == len(strides) > 0:
            raise ValueError(
                "encoder.widths and encoder.strides have one entry per stage, got "
                f"{len(widths)} and {len(strides)} entries"
            )
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        channels = [width, *widths]
        self.stages = nn.Sequential(
            *(
                BasicBlock3d("2d3d", before, after, (3, 3, 3), (time, space, space))
                for before, after, (time, space) in zip(channels, widths, strides, strict=False)
            )
        )
        self.out_channels = widths[-1]
        self.stride = 2 * prod(space for _, space in strides)
        self.time_stride = prod(time for time, _ in strides)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised clips -> (B, out_channels, t, h, w)."""
        features: Tensor = self.stages(self.stem(x))
        return features

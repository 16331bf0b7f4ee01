"""A 3-D ResNet of maps of motion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.resnet3d import BasicBlock3d


class MotionEncoder(nn.Module):
    """Maps of vectors → features of places, over all of the time.

    A 3-D ResNet of one basic block per stage (R3D-10 with the default), whose stem keeps the
    resolution: vectors are coarse already. What is left of the time is averaged.

    Args:
        widths: channels of each stage.
        strides: (time, space) of each stage's block.
        kernel: side of the stem's windows, whose time is 3 frames.
        pool: a 3×3×3 maximum with stride 2 follows the stem.
        padding: what convolutions see outside of a map: nothing that moves (published), which tells
            features where they are, or what is at its border.

    Attributes:
        out_channels: channels of the output.
        stride: input cells per output cell.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        strides: Sequence[tuple[int, int]] = ((1, 1), (2, 2), (2, 2), (2, 2)),
        kernel: int = 7,
        pool: bool = True,
        padding: Literal["zeros", "replicate"] = "zeros",
    ) -> None:
        super().__init__()
        if padding not in ("zeros", "replicate"):
            raise UserError(f"motion_encoder.padding={padding}: choose zeros or replicate.")
        if not len(widths) == len(strides) > 0:
            raise UserError(
                "motion_encoder.widths and motion_encoder.strides have one entry per stage, got "
                f"{len(widths)} and {len(strides)} entries."
            )
        window, around = (3, kernel, kernel), (1, kernel // 2, kernel // 2)
        stem: list[nn.Module] = [
            nn.Conv3d(2, widths[0], window, padding=around, bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        if pool:
            stem.append(nn.MaxPool3d(3, 2, 1))
        self.stem = nn.Sequential(*stem)
        channels = [widths[0], *widths]
        self.stages = nn.Sequential(
            *(
                BasicBlock3d("2d3d", before, after, (3, 3, 3), (time, space, space))
                for (before, after), (time, space) in zip(pairwise(channels), strides, strict=True)
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                module.padding_mode = padding
        self.out_channels = widths[-1]
        self.stride = 2 if pool else 1
        for _, space in strides:
            self.stride *= space

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, T, H, W) → (B, out_channels, h, w)."""
        features: Tensor = self.stages(self.stem(x))
        return features.mean(2)

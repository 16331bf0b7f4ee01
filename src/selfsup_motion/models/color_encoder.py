"""Encoders without weights: what matching colours achieves, a learned encoder has to beat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.models.encoder import ImageEncoder
from selfsup_motion.ops.color import rgb_to_lab

_UNIT = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)


class LabColor(ImageEncoder):
    """The mean Lab colour of each cell, 3 channels in units of 100.

    Compare by Euclidean distance.

    Args:
        stride: side of a cell in pixels.
    """

    input_mean, input_std = _UNIT

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.stride = stride
        self.out_channels = 3

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 3, H / stride, W / stride)."""
        lab = rgb_to_lab(x) / 100
        return F.avg_pool2d(lab, self.stride)


class ColorPatches(ImageEncoder):
    """Lab colours of a patch around each cell.

    Args:
        stride: side of a cell in pixels.
        patch: side of the patch in pixels, a multiple of `samples`.
        samples: colours per side of the patch, each the mean of its part.
    """

    input_mean, input_std = _UNIT

    def __init__(self, stride: int = 4, patch: int = 12, samples: int = 6) -> None:
        super().__init__()
        if min(stride, patch, samples) < 1 or patch % samples:
            raise ValueError(
                f"stride, patch and samples must be at least 1 and patch a multiple of samples, "
                f"got {stride}, {patch}, {samples}"
            )
        self.stride, self.patch, self.samples = stride, patch, samples
        self.out_channels = 3 * samples**2

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 3 samples², H / stride, W / stride)."""
        part = self.patch // self.samples
        before = (self.patch - self.stride) // 2
        after = self.patch - self.stride - before
        lab = rgb_to_lab(x) / (100 * self.samples)  # distances become those of the mean colour
        padded = F.pad(lab, (before, after, before, after), mode="replicate")
        means = F.avg_pool2d(padded, part, stride=1)
        height, width = x.shape[-2] // self.stride, x.shape[-1] // self.stride
        rows, columns = ((n - 1) * self.stride + 1 for n in (height, width))
        shifts = [
            means[..., i : i + rows : self.stride, j : j + columns : self.stride]
            for i in range(0, self.patch, part)
            for j in range(0, self.patch, part)
        ]
        return torch.cat(shifts, 1)


class NoMotion(ImageEncoder):
    """Stands for matching every pixel with itself, the baseline "identity".

    There is nothing to compute: whoever follows labels with it repeats those of the first frame.
    """

    input_mean, input_std = _UNIT

    def __init__(self) -> None:
        super().__init__()
        self.stride = 1
        self.out_channels = 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1, H, W) zeros: all pixels look alike."""
        return torch.zeros_like(x[:, :1])

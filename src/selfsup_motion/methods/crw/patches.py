"""Patches of frames: where they lie, and all of them cut at once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def grid_windows(size: int, patch: int, step: int) -> NDArray[np.float32]:
    """The windows of a regular grid.

    Args:
        size: side of the square frame in pixels.
        patch: side of a window.
        step: between neighbouring windows.

    Returns:
        (N, 4) top, left, height and width in pixels, row by row.
    """
    starts = np.arange(0, size - patch + 1, step, dtype=np.float32)
    top, left = np.meshgrid(starts, starts, indexing="ij")
    sides = np.full((top.size, 2), patch, np.float32)
    return np.concatenate([np.stack([top.ravel(), left.ravel()], 1), sides], 1)


def cut_patches(
    frames: Tensor, windows: Tensor, size: int, mirrored: Tensor | None = None
) -> Tensor:
    """Resize windows of frames to patches, bilinearly, with one call for all of them.

    Each patch is what resizing its window alone would give: nothing outside is mixed in.

    Args:
        frames: (F, C, H, W) float.
        windows: (F, N, 4) top, left, height and width in pixels.
        size: side of the patches in pixels.
        mirrored: (F, N) bool, patches that are mirrored left-right; None: none.

    Returns:
        (F, N, C, size, size).
    """
    count, patches = windows.shape[:2]
    windows = windows.to(frames.dtype)
    share = (torch.arange(size, device=frames.device, dtype=frames.dtype) + 0.5) / size
    across = share.expand(count, patches, size)
    if mirrored is not None:
        across = torch.where(mirrored[..., None], across.flip(-1), across)
    top, left, height, width = windows[..., None].unbind(2)  # each (F, N, 1)
    # centres of pixels are at halves; the outermost half pixel repeats the border
    y = top + (share * height).clamp(min=0.5).minimum(height - 0.5)
    x = left + (across * width).clamp(min=0.5).minimum(width - 0.5)
    tall, wide = frames.shape[-2:]
    grid = torch.stack(
        [
            (2 * x / wide - 1)[:, :, None].expand(-1, -1, size, -1),
            (2 * y / tall - 1)[..., None].expand(-1, -1, -1, size),
        ],
        -1,
    )
    cut = F.grid_sample(
        frames, grid.reshape(count, patches * size, size, 2), padding_mode="border",
        align_corners=False,
    )  # fmt: skip
    return torch.unflatten(cut, 2, (patches, size)).transpose(1, 2)

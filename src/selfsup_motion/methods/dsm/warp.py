"""Local warps that disturb a scene and leave its motion: drawn, made into one index, applied."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PUBLISHED_SIDE = 224
_CENTRE, _SHIFT = (60, 140), (10, 20)
"""Ranges of whole pixels at this side."""


def draw_warps(rng: np.random.Generator, size: int, most: int) -> NDArray[np.int64]:
    """Draw one to `most` warps.

    Args:
        rng: of the sample.
        size: side of the clip in pixels; ranges are published for 224 and scaled.
        most: warps.

    Returns:
        (most, 4) row and column of the centre, shift along rows and columns, in pixels; those that
        are not there have a shift of 0.
    """
    scale = size / _PUBLISHED_SIDE
    centres = np.floor(rng.integers(*_CENTRE, (most, 2)) * scale)
    shifts = np.maximum(1, np.rint(rng.integers(*_SHIFT, (most, 2)) * scale))
    count = rng.integers(1, most + 1)
    shifts[count:] = 0
    return np.concatenate([centres, shifts], 1).astype(np.int64)


def warp_index(warps: Tensor, size: int) -> Tensor:
    """Where each pixel of warped clips comes from, all warps of a clip one after the other.

    A pixel p within three shifts of the centre comes from p − g · shift, g = 0.5 / (3 r⁴ + 1), r
    the distance from the shifted centre in lengths of the shift; cut off to whole pixels and at the
    border.

    Args:
        warps: (B, K, 4) as `draw_warps` makes them.
        size: side of the clips in pixels.

    Returns:
        (B, size²) int64, row by row.
    """
    steps = torch.arange(size, device=warps.device)
    place = torch.stack(torch.meshgrid(steps, steps, indexing="ij"))[None].float()
    index = torch.arange(size * size, device=warps.device).expand(len(warps), -1)
    for warp in warps.float()[..., None, None].unbind(1):
        centre, shift = warp[:, :2], warp[:, 2:]
        length = shift.norm(dim=1, keepdim=True).clamp(min=1e-6)
        distance = (place - centre - shift).norm(dim=1, keepdim=True) / length
        moved = (0.5 / (3 * distance**4 + 1) * shift).trunc()
        near = ((place - centre).abs() <= 3 * shift).all(1, keepdim=True)
        source = (place - torch.where(near, moved, 0)).clamp(0, size - 1).long()
        flat = (source[:, 0] * size + source[:, 1]).flatten(1)
        # what a warp takes was itself taken from somewhere by those before it
        index = index.gather(1, flat)
    return index


def warped(clips: Tensor, warps: Tensor) -> Tensor:
    """Warp all frames of each clip alike, with one gather.

    Args:
        clips: (B, T, C, S, S).
        warps: (B, K, 4), see `draw_warps`.

    Returns:
        (B, T, C, S, S).
    """
    index = warp_index(warps, clips.shape[-1])
    flat = clips.flatten(3)
    return flat.gather(3, index[:, None, None].expand_as(flat)).view_as(clips)

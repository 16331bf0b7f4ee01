"""Where windows are that slide over images, and cutting them out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def window_path(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    length: int,
    room: NDArray[np.int64] | int,
    *,
    subpixel: bool = False,
) -> NDArray[Any]:
    """Positions of windows that move at constant speed.

    Args:
        start: (…, 2) first positions, x and y; or (…, K) for any K coordinates.
        end: like `start`, the last ones.
        length: frames.
        room: (2,) or one number, the largest position possible; smaller and larger ones are
            clamped.
        subpixel: keep fractions; else they are cut off, as published, which makes opposite
            directions differ by up to a pixel.

    Returns:
        (…, length, 2), float32 if `subpixel`, else int64.
    """
    path = np.linspace(start, end, length, axis=-2)
    if subpixel:
        return np.clip(path, 0, room).astype(np.float32)
    return np.clip(path.astype(np.int64), 0, room)


def windows(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut windows out of images.

    Args:
        images: (B, 3, H, W).
        corners: (B, …, 2), x and y of upper left corners; integers, or floats for bilinear
            interpolation.
        size: side in pixels.

    Returns:
        (B, …, 3, size, size), of the images' type, or float32 in the same range if interpolated.
    """
    whole = not corners.is_floating_point()
    side = size if whole else size + 1
    height, width = images.shape[-2:]
    if side > min(height, width):
        raise ValueError(f"windows of {side} pixels do not fit into images of {height}x{width}")
    x, y = corners.unbind(-1)
    if not whole:
        x = x.floor().long().clamp(max=width - side)
        y = y.floor().long().clamp(max=height - side)
    index = torch.arange(len(images), device=images.device).view(-1, *[1] * (x.ndim - 1))
    # a view with every window in it; indexing copies the rows of those asked for
    every = images.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)
    cut: Tensor = every[index.expand_as(x), y, x]
    if whole:
        return cut
    right, down = (corners - torch.stack([x, y], -1))[..., None, None, None].unbind(-4)
    cut = cut.float()
    cut = torch.lerp(cut[..., :-1], cut[..., 1:], right)
    return torch.lerp(cut[..., :-1, :], cut[..., 1:, :], down)


def cover(length: int, window: int, step: int) -> list[int]:
    """Where windows begin that together cover 0 to `length`, `step` apart; the last one is moved
    back to end there. A window longer than that begins at 0."""
    last = max(0, length - window)
    return [*range(0, last, step), last]

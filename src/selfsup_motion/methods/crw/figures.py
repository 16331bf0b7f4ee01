"""Pictures of where CRW's walks return, and of the objects that its features follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.draw import Image, panel
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.ops.palette import palette


def clip_panel(
    frames: Tensor, returned: Tensor, masks: Tensor | None, followed: Tensor | None
) -> Image:
    """Draw clips, one a row.

    Args:
        frames: (B, T, 3, H, W) uint8.
        returned: (B, rows, columns) in [0, 1]: probability that a walk to the last frame and back
            ends at the node where it began.
        masks: (B, T, H, W) true ids, if known.
        followed: (B, T, H, W) ids as followed from the first frame.

    Returns:
        (height, width, 3) uint8.
    """
    magnify = max(1, round(192 / min(frames.shape[-2:])))
    titles = ["first frame", "last frame", "walks that return"]
    rows = []
    for i in range(len(frames)):
        first, last = (_enlarged(frames[i, t].permute(1, 2, 0), magnify) for t in (0, -1))
        bright = _stretched(returned[i], first.shape[:2])[..., None]
        tiles = [first, last, (first * bright).astype(np.uint8)]
        if masks is not None and followed is not None:
            for image, ids in ((first, masks[i, 0]), (last, followed[i, -1]), (last, masks[i, -1])):
                tiles.append(draw_masks(image, _enlarged(ids.byte(), magnify), palette()))
        rows.append(tiles)
    if masks is not None:
        titles += ["first frame, given", "followed to the last", "truth"]
    return panel(rows, titles)


def _enlarged(picture: Tensor, magnify: int) -> Image:
    """(H, W, …) uint8 on any device, repeated."""
    return picture.cpu().numpy().repeat(magnify, 0).repeat(magnify, 1)


def _stretched(grid: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """(rows, columns) to (H, W), each value a rectangle."""
    values: NDArray[np.float32] = grid.float().cpu().numpy()
    row, column = (np.arange(n) * len_ // n for n, len_ in zip(size, values.shape, strict=True))
    return np.asarray(values[row][:, column])

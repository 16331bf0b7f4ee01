"""Which pixels go along when a point is told to move (the annotation demo of CMP's authors)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.methods.cmp.steps import STEP

Move = Callable[[Tensor, Tensor, Tensor], Iterable[Tensor]]
"""(image (3, H, W), points (K, 2), vectors (T, K, 2)) → flow (T, 2, H, W), as `CMP.propagate`, or
one (2, H, W) after the other, as `EncodedImages.one_by_one`, which takes less memory."""

_DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
_LEAST_SQUARE = 16
"""Pixels: what is zoomed into is at least so wide."""


def click_score(
    move: Move,
    image: Tensor,
    positive: NDArray[np.float32],
    negative: NDArray[np.float32],
    *,
    zoom: float | None,
) -> NDArray[np.float32]:
    """Score how much each pixel belongs to the object that points lie on.

    The positive points are moved to the right, the left, down and up, all together, while the
    negative ones stay. The score is the mean length of the four motions' components, divided by its
    maximum.

    Args:
        move: the network.
        image: (3, H, W) uint8.
        positive: (K, 2), x, y on the object; at least one.
        negative: (L, 2), x, y beside it.
        zoom: look only at a square around all points, this many times as large as they reach; needs
            two points in different places. None: look at the whole image.

    Returns:
        (H, W) float32 in [0, 1]; 0 outside of the square.
    """
    points = np.concatenate([positive, negative])
    height, width = image.shape[-2:]
    square = None if zoom is None else zoom_square(points, (height, width), zoom)
    if square is None:
        return _four_ways(move, image, points, len(positive))
    left, top, side = square
    part = image[:, top : top + side, left : left + side]
    near = _four_ways(move, part, points - np.array((left, top), np.float32), len(positive))
    score = np.zeros((height, width), np.float32)
    score[top : top + side, left : left + side] = near
    return score


def zoom_square(
    points: NDArray[np.float32], size: tuple[int, int], zoom: float
) -> tuple[int, int, int] | None:
    """(left, top, side) of the square to look at; None if that is the whole image.

    Centred on the points' bounding box, but moved into the image: the published demo would look at
    black beyond the border.
    """
    low, high = points.min(0), points.max(0)
    reach = float((high - low).max())
    side = max(_LEAST_SQUARE, 2 * round(reach * zoom / 2))
    if reach == 0 or side >= min(size):
        return None
    centre = (low + high) / 2
    limits = (size[1] - side, size[0] - side)
    left, top = (
        min(max(round(float(c) - side / 2 + 0.5), 0), limit)
        for c, limit in zip(centre, limits, strict=True)
    )
    # the image's border may have moved the square off a point
    if not ((points >= (left - 0.5, top - 0.5)) & (points <= (left + side, top + side))).all():
        return None
    return left, top, side


def _four_ways(
    move: Move, image: Tensor, points: NDArray[np.float32], moving: int
) -> NDArray[np.float32]:
    vectors = torch.zeros(len(_DIRECTIONS), len(points), 2)
    length = STEP * min(image.shape[-2:])
    vectors[:, :moving] = length * torch.tensor(_DIRECTIONS)[:, None]
    # a zoomed image has points at its border, where rounding may have put them outside
    limit = torch.tensor([image.shape[-1] - 0.5, image.shape[-2] - 0.5])
    places = torch.minimum(torch.from_numpy(points), limit).clamp(min=-0.5)
    score = torch.zeros(image.shape[-2:])
    for flow in move(image, places, vectors):
        score = score.to(flow.device)
        score += flow[0].abs()
        score += flow[1].abs()
        del flow  # before the next one is made
    score /= 2 * len(_DIRECTIONS)
    score /= score.max().clamp(min=1e-6)
    return np.asarray(score.cpu().numpy(), np.float32)

"""Which pixels go along when a point is told to move (the annotation demo of CMP's authors)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.apps.motion import STEP
from selfsup_motion.apps.weights import Weights

_DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
_LEAST_SQUARE = 16
"""Pixels: what is zoomed into is at least so wide."""
_GRABCUT_SIDE = 480
_GRABCUT_ROUNDS = 4
_SURE = 0.15
"""GrabCut may not take what scores less for the object, nor what scores more than 1 minus this for
its surroundings."""


def probe(
    weights: Weights,
    image: Tensor,
    positive: NDArray[np.float32],
    negative: NDArray[np.float32],
    *,
    zoom: float | None = None,
) -> NDArray[np.float32]:
    """Score how much each pixel belongs to the object that points lie on.

    The positive points are moved to the right, the left, down and up, all together, while the
    negative ones stay. The score is the mean length of the four motions' components, divided by its
    maximum.

    Args:
        weights: the network.
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
        return _four_ways(weights, image, points, len(positive))
    left, top, side = square
    part = image[:, top : top + side, left : left + side]
    near = _four_ways(weights, part, points - np.array((left, top), np.float32), len(positive))
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


def refine_guided(score: NDArray[np.float32], image: Tensor) -> NDArray[np.float32]:
    """Let a score follow the edges of the image: guided filter (He et al. 2010), of kornia.

    Args:
        score: (H, W) in [0, 1].
        image: (3, H, W) uint8.
    """
    from kornia.filters import guided_blur

    radius = max(1, min(score.shape) // 40)
    guide = image[None].float() / 255
    blurred = guided_blur(guide, torch.from_numpy(score)[None, None], 2 * radius + 1, eps=1e-3)
    return np.asarray(blurred[0, 0].clamp(0, 1).numpy(), np.float32)


def refine_grabcut(score: NDArray[np.float32], image: Tensor) -> NDArray[np.float32]:
    """Cut along colours and edges where a score is undecided: GrabCut, of OpenCV.

    Args:
        score: (H, W) in [0, 1].
        image: (3, H, W) uint8.

    Returns:
        (H, W): 1 on the object, 0 elsewhere, between on pixels that GrabCut at reduced size mixes.
    """
    height, width = score.shape
    scale = min(1.0, _GRABCUT_SIDE / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(score, size, interpolation=cv2.INTER_AREA)
    labels = np.where(small > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[small < _SURE] = cv2.GC_BGD
    labels[small > 1 - _SURE] = cv2.GC_FGD
    object_side = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if object_side.all() or not object_side.any():
        return score
    inside, outside = np.zeros((1, 65)), np.zeros((1, 65))  # its colour models
    nothing = (0, 0, 0, 0)
    cv2.setRNGSeed(0)  # its k-means would start differently at every call
    cv2.grabCut(picture, labels, nothing, outside, inside, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _four_ways(
    weights: Weights, image: Tensor, points: NDArray[np.float32], moving: int
) -> NDArray[np.float32]:
    device = weights.method.device
    vectors = torch.zeros(len(_DIRECTIONS), len(points), 2)
    length = STEP * min(image.shape[-2:])
    vectors[:, :moving] = length * torch.tensor(_DIRECTIONS)[:, None]
    # a zoomed image has points at its border, where rounding may have put them outside
    limit = torch.tensor([image.shape[-1] - 0.5, image.shape[-2] - 0.5])
    places = torch.minimum(torch.from_numpy(points), limit).clamp(min=-0.5)
    flow = weights.method.propagate(
        image.to(device), places, vectors, short_side=weights.short_side
    )
    score = flow.abs().mean((0, 1))
    return np.asarray((score / score.max().clamp(min=1e-6)).cpu().numpy(), np.float32)

"""DAVIS's two measures of one mask against another (Perazzi et al., CVPR 2016, section 4)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""(H, W) bool."""


def region_similarity(predicted: Mask, truth: Mask, void: Mask | None = None) -> float:
    """J: intersection over union.

    Args:
        predicted: (H, W) bool, or numbers: all but 0 belong to it.
        truth: alike.
        void: alike, pixels that do not count.

    Returns:
        In [0, 1]; 1 if both masks are empty.
    """
    predicted, truth = _valid(predicted, truth, void)
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def contour_accuracy(
    predicted: Mask, truth: Mask, void: Mask | None = None, tolerance: float = 0.008
) -> float:
    """F: harmonic mean of the precision and recall of the boundary pixels.

    Args:
        predicted: (H, W) bool, or numbers: all but 0 belong to it.
        truth: alike.
        void: alike, pixels that belong to neither mask.
        tolerance: how far a boundary pixel may be off, as a share of the image's diagonal
            (rounded up); in pixels if 1 or more.

    Returns:
        In [0, 1]; 1 if both masks are empty.
    """
    predicted, truth = _valid(predicted, truth, void)
    radius = int(tolerance if tolerance >= 1 else np.ceil(tolerance * np.hypot(*truth.shape)))
    box = _box(predicted | truth, margin=radius + 2)
    if box is None:
        return 1.0
    # outside the box nothing has a boundary, and dilation does not reach out of it
    edges = boundary(predicted[box]), boundary(truth[box])
    counts = [np.count_nonzero(edge) for edge in edges]
    if not all(counts):
        return float(not any(counts))
    disc = _disc(radius)
    near = [cv2.dilate(edge.view(np.uint8), disc).view(bool) for edge in edges]
    precision = np.count_nonzero(edges[0] & near[1]) / counts[0]
    recall = np.count_nonzero(edges[1] & near[0]) / counts[1]
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def boundary(mask: Mask) -> Mask:
    """Pixels that differ from the one to the right, below, or below to the right.

    Args:
        mask: (H, W) bool, or numbers: all but 0 belong to it.

    Returns:
        (H, W) bool. Beyond the last row and column the mask goes on as it is.
    """
    mask = mask.astype(bool, copy=False)
    right = mask[:, :-1] ^ mask[:, 1:]
    down = mask[:-1] ^ mask[1:]
    edge = np.zeros_like(mask)
    edge[:, :-1] = right
    edge[:-1] |= down
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def _valid(predicted: Mask, truth: Mask, void: Mask | None) -> tuple[Mask, Mask]:
    if predicted.shape != truth.shape or (void is not None and void.shape != truth.shape):
        shapes = [None if m is None else m.shape for m in (predicted, truth, void)]
        raise ValueError(f"predicted, truth and void must have one shape, got {shapes}")
    predicted, truth = predicted.astype(bool, copy=False), truth.astype(bool, copy=False)
    if void is None:
        return predicted, truth
    keep = ~void.astype(bool, copy=False)
    return predicted & keep, truth & keep


def _box(mask: Mask, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns that hold all of the mask and `margin` pixels around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


@lru_cache(maxsize=8)
def _disc(radius: int) -> NDArray[np.uint8]:
    steps = np.arange(-radius, radius + 1)
    return (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.uint8)

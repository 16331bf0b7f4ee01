"""Keypoints as label maps, and how well they are followed (the protocol of CRW for JHMDB)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Normaliser = Literal["instance", "max"]
Points = NDArray[np.float64]

_READ_FROM = 3  # cells


def gaussian_maps(points: Points, size: tuple[int, int], sigma: float) -> Tensor:
    """A label map with a dot for each point.

    Args:
        points: (K, 2) x, y in cells; a point whose dot lies outside leaves its map empty.
        size: (height, width) of the maps in cells.
        sigma: of the dots, in cells; a dot reaches 3 sigma.

    Returns:
        (K + 1, height, width) float32 in [0, 1]; the first map is the background, 1 where no
        point has any mass.
    """
    maps = torch.zeros(len(points) + 1, *size)
    side = np.arange(0, 6 * sigma + 1)
    bump = np.exp(-((side - (6 * sigma + 1) // 2) ** 2) / (2 * sigma**2))
    for index, point in enumerate(points):
        if not np.isfinite(point).all():
            continue
        rows, columns = (_span(point[a], size[1 - a], sigma) for a in (1, 0))
        dot = np.outer(bump[rows[1]], bump[columns[1]])
        maps[index + 1, rows[0], columns[0]] = torch.from_numpy(dot).float()
    maps[0] = (maps[1:].sum(0) == 0).float()
    return maps


def _span(centre: float, length: int, sigma: float) -> tuple[slice, slice]:
    """Where a dot lies on an axis of `length` cells, and which part of the dot that is."""
    start, stop = int(centre - 3 * sigma), int(centre + 3 * sigma + 1)
    first, last = max(start, 0), max(min(stop, length), 0)
    first = min(first, last)
    return slice(first, last), slice(first - start, last - start)


def read_points(maps: Tensor) -> Points:
    """Where the points of label maps are: the mean of their three heaviest cells.

    Args:
        maps: (K + 1, height, width) as of `gaussian_maps`; not below 0.

    Returns:
        (K, 2) x, y in cells; -1, -1 where a map is empty.
    """
    flat = maps[1:].flatten(1).double()
    weights, cells = flat.topk(min(_READ_FROM, flat.shape[1]), dim=1)
    total = weights.sum(1, keepdim=True)
    weights = weights / total.clamp(min=torch.finfo(weights.dtype).tiny)
    xy = torch.stack([cells % maps.shape[2], cells // maps.shape[2]], -1)
    points = (xy * weights[..., None]).sum(1)
    points[total[:, 0] == 0] = -1
    return points.numpy()


def normalised_errors(
    predicted: Points, truth: Points, normaliser: Normaliser = "instance"
) -> NDArray[np.float64]:
    """Distances in units of the person's size.

    Args:
        predicted: (T, K, 2) pixels; a negative x marks a point as not found.
        truth: (T, K, 2) pixels; nan where unknown.
        normaliser: of a frame, from the tight box around the true points that were found:
            "instance", 0.6 times its diagonal; "max", its longer side.

    Returns:
        (T, K); nan where a point is not found or not known, inf where it is the only one.
    """
    if predicted.shape != truth.shape or predicted.shape[2:] != (2,):
        raise ValueError(
            f"predicted and truth must both be (T, K, 2), got {predicted.shape}, {truth.shape}"
        )
    counts: NDArray[np.bool_] = (predicted[..., 0] >= 0) & np.isfinite(truth).all(-1)
    low = np.where(counts[..., None], truth, np.inf).min(1)
    high = np.where(counts[..., None], truth, -np.inf).max(1)
    sides = np.where(counts.any(1, keepdims=True), high - low, 0)
    size = 0.6 * np.hypot(*sides.T) if normaliser == "instance" else sides.max(1)
    distance = np.linalg.norm(predicted - truth, axis=-1)
    # a single point has a box without size: it counts as wrong, as in the published code
    errors: Points = np.full(distance.shape, np.inf)
    np.divide(distance, size[:, None], out=errors, where=size[:, None] > 0)
    errors[~counts] = np.nan
    return errors


def pck(errors: Sequence[NDArray[np.float64]], thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Percentage of correct keypoints.

    As published: the first frame, which was given, does not count; a joint that was not found is
    left out rather than wrong; joints are averaged with equal weight.

    Args:
        errors: (T, K) of each clip, from `normalised_errors`.
        thresholds: errors up to them are correct.

    Returns:
        (len(thresholds), K + 1): percentages for each joint (nan where it never counts), then
        their mean.
    """
    if not errors:
        raise ValueError("pck needs at least one clip")
    values = np.concatenate([clip[1:] for clip in errors])
    known = ~np.isnan(values)
    counts = known.sum(0)
    table = np.full((len(thresholds), values.shape[1] + 1), np.nan)
    for row, threshold in zip(table, thresholds, strict=True):
        correct = (known & (np.where(known, values, np.inf) <= threshold)).sum(0)
        row[:-1] = np.where(counts > 0, 100 * correct / np.maximum(counts, 1), np.nan)
        row[-1] = np.nanmean(row[:-1]) if counts.any() else np.nan
    return table

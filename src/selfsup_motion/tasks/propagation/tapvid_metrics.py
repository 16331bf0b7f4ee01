"""Queries and scores of TAP-Vid (Doersch et al. 2022), equal to the official evaluation's.

Points are in raster coordinates: (0, 0) is the upper left corner of the image, the centre of the
first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

QueryMode = Literal["first", "strided"]

THRESHOLDS = (1, 2, 4, 8, 16)
"""Distances in pixels of an image of 256x256."""

_STRIDE = 5
"""Frames between those that strided queries are asked in."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def sample_queries(
    points: Floats, occluded: Bools, mode: QueryMode
) -> tuple[Floats, NDArray[np.int64]]:
    """The points that are to be tracked.

    Args:
        points: (N, T, 2) x, y of the true tracks in pixels.
        occluded: (N, T).
        mode: "first", each track from the first frame in which it is visible; "strided", each
            track from every fifth frame in which it is visible.

    Returns:
        (Q, 3) t, y, x, and (Q,) the track that each belongs to. Tracks that are never visible in
        such a frame have none.
    """
    visible = ~occluded
    if mode == "first":
        tracks = np.flatnonzero(visible.any(1))
        times = visible.argmax(1)[tracks]
    else:
        frames, tracks = np.nonzero(visible[:, ::_STRIDE].T)
        times = frames * _STRIDE
    x, y = points[tracks, times].T
    return np.stack([times.astype(np.float64), y, x], 1), tracks


def tapvid_metrics(
    queries: Floats,
    target: Floats,
    target_occluded: Bools,
    predicted: Floats,
    predicted_occluded: Bools,
    mode: QueryMode,
) -> dict[str, float]:
    """Scores of one video.

    Positions count wherever the point is truly visible, also where it was predicted as hidden.

    Args:
        queries: (Q, 3) t, y, x.
        target: (Q, T, 2) true x, y in pixels of an image of 256x256.
        target_occluded: (Q, T).
        predicted: (Q, T, 2).
        predicted_occluded: (Q, T).
        mode: "first": frames after the query count; "strided": all but the query's.

    Returns:
        `delta_avg`, `AJ` and `OA`, in [0, 1], and `delta_<x>` and `jaccard_<x>` of each threshold
        in pixels; NaN where nothing counts.
    """
    frame = np.arange(target.shape[1])
    asked = np.round(queries[:, :1]).astype(np.int64)
    counts = frame > asked if mode == "first" else frame != asked
    visible, found = ~target_occluded & counts, ~predicted_occluded & counts
    distance = np.linalg.norm(predicted - target, axis=-1)
    values: dict[str, float] = {}
    for threshold in THRESHOLDS:
        near = distance < threshold
        true_positives = (visible & found & near).sum()
        false_positives = (found & ~(visible & near)).sum()
        values[f"delta_{threshold}"] = _share((visible & near).sum(), visible.sum())
        values[f"jaccard_{threshold}"] = _share(true_positives, visible.sum() + false_positives)
    averages = {
        "delta_avg": float(np.mean([values[f"delta_{x}"] for x in THRESHOLDS])),
        "AJ": float(np.mean([values[f"jaccard_{x}"] for x in THRESHOLDS])),
        "OA": _share((counts & (target_occluded == predicted_occluded)).sum(), counts.sum()),
    }
    return {**averages, **values}


def _share(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else float("nan")

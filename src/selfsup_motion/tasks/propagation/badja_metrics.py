"""Joints of animals: where they are in label maps, and PCK-T (Biggs et al. 2018, BADJA)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.keypoints import Points
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.shared_features import features_of

THRESHOLD = 0.2
"""Errors below this share of the square root of the animal's area are correct."""


def pck_t(
    predicted: Points,
    truth: Points,
    visible: NDArray[np.bool_],
    areas: NDArray[np.float64],
    threshold: float = THRESHOLD,
) -> float:
    """Share of the correct joints of a video, in per cent; NaN if none counts.

    The first frame, which was given, does not count, nor do hidden joints.

    Args:
        predicted: (T, K, 2) pixels.
        truth: (T, K, 2) pixels.
        visible: (T, K); False in frames that are not annotated.
        areas: (T,) pixels of the animal in each frame.
        threshold: see `THRESHOLD`.
    """
    distance = np.linalg.norm(predicted - truth, axis=-1)
    counts = visible[1:]
    if not counts.any():
        return float("nan")
    correct = distance[1:] < threshold * np.sqrt(areas[1:, None])
    return float(100 * correct[counts].mean())


def mean_positions(soft: Tensor, stride: int, size: tuple[int, int], points: Points) -> Points:
    """Where joints are: the mean of all pixels, weighted by a label map that is enlarged and whose
    smallest value counts as nothing. The read-out of PIPs (Harley et al. 2022) for DINO.

    Args:
        soft: (K, h, w) not below 0, a map for each joint.
        stride: pixels per cell.
        size: (height, width) in pixels.
        points: (K, 2) x, y that are kept where a map is the same everywhere.

    Returns:
        (K, 2) x, y in pixels.
    """
    height, width = size
    large = F.interpolate(soft[None], scale_factor=stride, mode="bilinear", align_corners=False)
    weights = large[0, :, :height, :width].double()
    weights = weights - weights.amin((1, 2), keepdim=True)
    total = weights.sum((1, 2))
    x = (weights.sum(1) * torch.arange(width, device=soft.device)).sum(1) / total
    y = (weights.sum(2) * torch.arange(height, device=soft.device)).sum(1) / total
    found: Points = torch.stack([x, y], 1).cpu().numpy()
    return np.where((total > 0).cpu().numpy()[:, None], found, points)


def marked_cells(points: Points, stride: int, size: tuple[int, int]) -> Tensor:
    """(K, h, w) maps with a single 1 in the cell that each point (K, 2) x, y lies in; a point
    outside is in the nearest cell.

    Args:
        points: in pixels.
        stride: pixels per cell.
        size: (h, w) in cells.
    """
    maps = torch.zeros(len(points), *size)
    columns, rows = (points // stride).astype(np.int64).T
    index = np.arange(len(points))
    maps[index, rows.clip(0, size[0] - 1), columns.clip(0, size[1] - 1)] = 1
    return maps


def follow_joints(
    encoder: FrameEncoder,
    propagator: LabelPropagator | None,
    frames: Iterable[Frame],
    points: Points,
) -> Iterator[Points]:
    """Follow joints of the first frame.

    Args:
        encoder: makes the features.
        propagator: copies the labels; None: they stay in their place.
        frames: (3, H, W) uint8.
        points: (K, 2) x, y in pixels of the first frame.

    Yields:
        (K, 2) x, y in pixels for each frame, the first one's being `points`.
    """
    found, scale = points, np.ones(2)
    for time, frame in enumerate(frames):
        if propagator is None:
            yield points
            continue
        size = frame.shape[1], frame.shape[2]
        seen = propagator.size.of(size)
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(encoder.device)
        features = features_of(encoder, pixels, seen, propagator.size.more_scales)
        cells = features.shape[1], features.shape[2]
        if time == 0:
            scale = np.array([seen[1] / size[1], seen[0] / size[0]])
            found = points * scale
            propagator.start(features, marked_cells(found, encoder.stride, cells))
            yield points
            continue
        soft = propagator.step(features)
        found = mean_positions(soft, encoder.stride, seen, found)
        yield found / scale
        propagator.store(marked_cells(found, encoder.stride, cells) if propagator.hard else soft)

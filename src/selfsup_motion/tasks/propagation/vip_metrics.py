"""Scores of VIP (Zhou et al. 2018): mean IoU of classes, average precision of their instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from selfsup_motion.ops.confusion import class_accuracy, class_iou, pixel_accuracy

Ids = NDArray[np.uint8]

OVERLAPS = tuple(round(0.1 * n, 1) for n in range(1, 10))
"""An instance is found if its IoU is above these."""


def confusion(truth: Ids, predicted: Ids, classes: int) -> NDArray[np.int64]:
    """Pixels of each class that were taken for each, (K, K), true classes down.

    Args:
        truth: (H, W); pixels of other values than 0 to K - 1 do not count.
        predicted: (H, W) of 0 to K - 1.
        classes: K.
    """
    counts = truth < classes
    pairs = truth[counts].astype(np.int64) * classes + predicted[counts]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def parsing_scores(matrix: NDArray[np.int64]) -> dict[str, float]:
    """`miou`, `pixel_accuracy` and `mean_accuracy` in [0, 1], of one matrix for all frames of all
    videos; classes that are neither true nor predicted anywhere do not count."""
    counts = torch.from_numpy(matrix)
    found = {
        "miou": class_iou(counts).nanmean(),
        "pixel_accuracy": pixel_accuracy(counts),
        "mean_accuracy": class_accuracy(counts).nanmean(),
    }
    return {name: float(value) for name, value in found.items()}


class PartPrecision:
    """AP^r: how precisely instances of parts are found, in the order of their scores.

    As the official script: a prediction is right if its IoU with some true instance of its class in
    its image is above the threshold, also if others claim the same instance. Classes without a true
    instance do not count, where the script gives no number.

    Args:
        classes: number of classes; the first is the background, which has no instances.
    """

    def __init__(self, classes: int) -> None:
        self._true = np.zeros(classes, np.int64)
        self._found: list[list[tuple[float, float]]] = [[] for _ in range(classes)]

    def add(
        self,
        truth: Ids,
        true_classes: Mapping[int, int],
        predicted: Ids,
        predictions: Mapping[int, tuple[int, float]],
    ) -> None:
        """Count an image.

        Args:
            truth: (H, W) ids of instances.
            true_classes: class of each id; other ids do not count.
            predicted: (H, W) ids.
            predictions: class and score of each id. Ids without a pixel do not count.
        """
        pairs = truth.astype(np.int64) * 256 + predicted
        table = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
        areas, extents = table.sum(1), table.sum(0)
        there = [(i, c) for i, c in true_classes.items() if areas[i]]
        for _, kind in there:
            self._true[kind] += 1
        for number, (kind, score) in predictions.items():
            if not extents[number]:
                continue
            best = max(
                (
                    float(table[i, number] / (areas[i] + extents[number] - table[i, number]))
                    for i, c in there
                    if c == kind
                ),
                default=0.0,
            )
            self._found[kind].append((score, best))

    def average(self, overlaps: Sequence[float] = OVERLAPS) -> NDArray[np.float64]:
        """(K - 1, len(overlaps)) precisions in [0, 1]; NaN for a class without instances."""
        rows = [self._average(kind, overlaps) for kind in range(1, len(self._true))]
        return np.array(rows)

    def _average(self, kind: int, overlaps: Sequence[float]) -> list[float]:
        if not self._true[kind]:
            return [float("nan")] * len(overlaps)
        found = np.array(self._found[kind]).reshape(-1, 2)
        found = found[np.argsort(-found[:, 0], kind="stable")]
        return [area_under(found[:, 1] > overlap, int(self._true[kind])) for overlap in overlaps]


def area_under(right: NDArray[np.bool_], total: int) -> float:
    """Area under the curve of precision over recall, the precision made monotone.

    Args:
        right: (P,) whether each prediction is right, the surest first.
        total: number of true instances.
    """
    hits = right.cumsum()
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(hits / total, prepend=0.0)
    return float((steps * envelope).sum())

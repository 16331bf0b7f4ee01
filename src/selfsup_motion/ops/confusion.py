"""Scores of label maps, from counts of which class was taken for which."""

from __future__ import annotations

from torch import Tensor


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class, as VOC defines it.

    Args:
        matrix: (K, K) counts of pixels, true classes down, predicted ones across; pixels without a
            label are not in it.

    Returns:
        (K,) float64 in [0, 1]; NaN for a class that is neither true nor predicted anywhere.
    """
    right = matrix.diagonal().double()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return right / union


def mean_iou(matrix: Tensor) -> Tensor:
    """Mean of `class_iou` over the classes that are there, () float64; NaN without any.

    A class that no pixel has is not counted: its IoU would be 0 or nothing, whether a single pixel
    is taken for it or none.
    """
    return class_iou(matrix)[matrix.sum(1) > 0].mean()


def class_accuracy(matrix: Tensor) -> Tensor:
    """Share of each class's pixels that are predicted as it, (K,) float64; NaN without any."""
    return matrix.diagonal().double() / matrix.sum(1)


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Share of all pixels that are right, () float64; NaN without any."""
    return matrix.diagonal().sum().double() / matrix.sum()


def constant_iou(matrix: Tensor) -> Tensor:
    """Mean IoU, () float64, of predicting the most frequent class everywhere: what no learning
    gives. Over the classes that are there."""
    truth = matrix.sum(1).double()
    return truth.max() / truth.sum() / (truth > 0).sum()

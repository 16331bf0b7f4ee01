"""A linear probe of segmentation in seconds: cached features, a classifier solved to the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data.geometry import resize_image, short_side_size
from selfsup_motion.data.loading.reader import nothing_readable
from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.source import Source
from selfsup_motion.errors import BadFilesError, ClipReadError
from selfsup_motion.ops.confusion import class_iou
from selfsup_motion.tasks.features.scores import LinearProbe

log = logging.getLogger(__name__)

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image (3, h, w) and labels (H, W), 255 where there is no label."""


def labelled_images(
    source: Source, labels: str, count: int, short_side: int | None
) -> Iterable[Labelled]:
    """The middle frame of the first `count` clips of a source, resized, with its labels.

    What cannot be read is left out, and told.

    Raises:
        BadFilesError: nothing can be read.
    """
    count = min(count, len(source))
    bad: list[str] = []
    for index in range(count):
        try:
            clip = source.read(index, [source.info(index).num_frames // 2])
        except ClipReadError as error:
            log.warning("Left out of the probe: %s", error)
            bad.append(str(error))
            if len(bad) == count:
                raise BadFilesError(nothing_readable(count, bad, "probe ")) from error
            continue
        image = np.ascontiguousarray(clip.frames[0].transpose(1, 2, 0))
        if short_side is not None:
            image = resize_image(image, short_side_size(image.shape[:2], short_side))
        yield np.ascontiguousarray(image.transpose(2, 0, 1)), clip.labels[labels][0]


def probe_iou(
    encode: Callable[[Tensor], Tensor],
    train: Iterable[Labelled],
    test: Iterable[Labelled],
    classes: int,
    *,
    cells: int,
    penalty: float,
    steps: int,
) -> Tensor:
    """IoU of each class for a logistic regression on frozen features.

    It is trained on the cells of the feature maps, each with the label at its centre; its scores
    are enlarged bilinearly to the size of the test labels. Nothing is random.

    Args:
        encode: (1, 3, H, W) uint8 -> (1, C, h, w).
        train: to learn from.
        test: to score.
        classes: K.
        cells: of each training image, evenly spread over it, at most so many are learned from.
        penalty: see `LinearProbe`.
        steps: see `LinearProbe`.

    Returns:
        (K,) float64; NaN for a class that the test labels do not have.
    """
    features, truth = [], []
    for image, labels in train:
        rows, ids = _cells(encode(torch.from_numpy(image)[None])[0].cpu(), labels, cells)
        features.append(rows)
        truth.append(ids)
    probe = LinearProbe(
        torch.cat(features), torch.cat(truth), classes, penalty=penalty, steps=steps
    )
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    for image, labels in test:
        found = encode(torch.from_numpy(image)[None])[0].cpu()
        scores = probe.probabilities(found.flatten(1).T).T.reshape(1, -1, *found.shape[1:])
        scores = F.interpolate(scores, labels.shape, mode="bilinear", align_corners=False)
        wanted = torch.from_numpy(labels).long()
        known = wanted != VOID
        pairs = wanted[known] * classes + scores[0].argmax(0)[known]
        matrix += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return class_iou(matrix).masked_fill(matrix.sum(1) == 0, float("nan"))


def _cells(features: Tensor, labels: NDArray[np.uint8], most: int) -> tuple[Tensor, Tensor]:
    """Features (N, C) and labels (N,) of the labelled cells of an image."""
    height, width = features.shape[1:]
    rows, columns = (
        _centres(n, length) for n, length in zip((height, width), labels.shape, strict=True)
    )
    ids = torch.from_numpy(labels[np.ix_(rows, columns)]).long().flatten()
    known = torch.nonzero(ids != VOID).flatten()
    known = known[:: max(1, -(-len(known) // most))]
    return features.flatten(1).T[known], ids[known]


def _centres(cells: int, length: int) -> NDArray[np.int64]:
    """Pixels at the centres of cells."""
    return ((np.arange(cells) + 0.5) * length / cells).astype(np.int64)

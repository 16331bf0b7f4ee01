"""What a network has to beat: the same questions, answered without learning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
from selfsup_motion.tasks.arrows.photos import Photo
from selfsup_motion.tasks.arrows.questions import Asked, Mask, Points, Question, moved, pins_of
from selfsup_motion.tasks.propagation.sequences import Frame

Interpolation = Literal["nearest", "edge_aware"]
Baseline = Literal["refined", "nearest", "edge_aware", "disc", "grabcut"]
"""`refined` is the network's own answer, cut along colours and edges."""

SIDE = 240
"""Short side at which they work, in pixels."""
_DOT = 0.02
"""Radius around a point within which GrabCut is told, as a share of the short side."""
_RIM = 2
"""Pixels at the border of the image that GrabCut takes for background."""
_ROUNDS = 5


def interpolate(
    kind: Interpolation, image: Frame, points: Points, vectors: Points
) -> NDArray[np.float32]:
    """Flow from vectors by the nearest one, or along the edges of the image.

    Args:
        kind: see `ops.interpolate`.
        image: (3, H, W) uint8.
        points: (K, 2) x, y.
        vectors: (K, 2) in pixels.

    Returns:
        (2, H, W) in pixels: found at a short side of 240 pixels, then resized.
    """
    height, width = image.shape[1:]
    small, scale = _resized(image)
    places = torch.from_numpy((points + 0.5) * scale - 0.5)[None]
    given = torch.from_numpy(vectors)[None]
    known = torch.ones(1, len(points), dtype=torch.bool)
    flow = _INTERPOLATIONS[kind](small, places, given, known)[0].permute(1, 2, 0).numpy()
    whole = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole, np.float32).transpose(2, 0, 1)


def disc(size: tuple[int, int], place: Points, radius: float) -> Mask:
    """(H, W): the pixels within `radius` short sides of a place (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    inside: Mask = np.hypot(x - place[0], y - place[1]) < radius * min(size)
    return inside


def grabcut(image: Frame, positive: Points, negative: Points, radius: float) -> Mask:
    """The object that points lie on, by OpenCV's GrabCut at a short side of 240 pixels.

    It is told that the object is probably within a disc around each positive point, surely not at
    the image's rim, and surely around the points themselves.

    Args:
        image: (3, H, W) uint8.
        positive: (K, 2) x, y on the object.
        negative: (L, 2) beside it.
        radius: of the discs, in short sides.

    Returns:
        (H, W).
    """
    small, scale = _resized(image)
    picture = np.ascontiguousarray(small[0].permute(1, 2, 0).numpy()[..., ::-1])
    size = picture.shape[0], picture.shape[1]
    labels = np.full(size, cv2.GC_PR_BGD, np.uint8)
    _mark(labels, positive * scale, radius, cv2.GC_PR_FGD)
    labels[:_RIM] = labels[-_RIM:] = cv2.GC_BGD
    labels[:, :_RIM] = labels[:, -_RIM:] = cv2.GC_BGD
    _mark(labels, negative * scale, _DOT, cv2.GC_BGD)
    _mark(labels, positive * scale, _DOT, cv2.GC_FGD)
    models = np.zeros((1, 65)), np.zeros((1, 65))  # of the colours
    cv2.setRNGSeed(0)  # its k-means would start differently at every call
    cv2.grabCut(picture, labels, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    whole = cv2.resize(cut, image.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole > 0)


def baseline_region(
    name: Baseline, photo: Photo, question: Question, asked: Asked, radius: float
) -> Mask | None:
    """The region that a baseline gives as an answer.

    Args:
        name: all but "refined".
        photo: that is asked about.
        question: the points.
        asked: which of them are given.
        radius: of discs, in short sides.

    Returns:
        (H, W). None: interpolations answer no clicks, and a disc is around one point.
    """
    pins = pins_of(asked)
    if name == "disc":
        size = photo.mask.shape[0], photo.mask.shape[1]
        return None if asked == "click_33" else disc(size, question.point[0], radius)
    if name == "grabcut":
        if asked == "click_33":
            return grabcut(photo.image, question.positive, question.negative, radius)
        return grabcut(photo.image, question.point, question.pins[: pins or 0], radius)
    assert name != "refined"
    if pins is None:
        return None
    return moved(interpolate(name, photo.image, *question.arrow(pins)))


def _resized(image: Frame) -> tuple[Tensor, float]:
    """(1, 3, h, w) uint8, and by how much it is larger than the image."""
    height, width = image.shape[1:]
    scale = SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    picture = np.ascontiguousarray(image.transpose(1, 2, 0))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1)[None], scale


def _mark(labels: NDArray[np.uint8], places: Iterable[Points], radius: float, label: int) -> None:
    size = labels.shape[0], labels.shape[1]
    for place in places:
        labels[disc(size, place, radius)] = label


def _nearest(image: Tensor, points: Tensor, vectors: Tensor, known: Tensor) -> Tensor:
    return nearest_interpolation(points, vectors, known, (image.shape[2], image.shape[3]))


_INTERPOLATIONS: dict[Interpolation, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "nearest": _nearest,
    "edge_aware": edge_aware_interpolation,
}

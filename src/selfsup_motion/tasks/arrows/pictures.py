"""Pictures of what was asked and answered: the best, the median and the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.draw import Image, draw_arrows, panel
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.ops.palette import palette
from selfsup_motion.tasks.arrows.photos import Photo
from selfsup_motion.tasks.arrows.questions import Asked, Mask, Points, Question, iou, pins_of

_HEIGHT, _WIDTH = 240, 320
_ON, _BESIDE = (40, 220, 40), (230, 40, 40)


def ranked(values: Mapping[str, float]) -> dict[str, str]:
    """Which of the named values is the best, the median and the worst; each name once."""
    order = sorted(values, key=lambda name: values[name], reverse=True)
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    found: dict[str, str] = {}
    for rank, place in places.items():
        if order[place] not in found.values():
            found[rank] = order[place]
    return found


def sheet_row(
    photo: Photo, question: Question, asked: Asked, answers: Sequence[Mask], title: str
) -> tuple[list[Image], list[str]]:
    """The question with the true object, then each answer with its IoU.

    Args:
        photo: that was asked about.
        question: the points.
        asked: which of them were given.
        answers: (H, W) each.
        title: caption of the question.

    Returns:
        Pictures (240, 320, 3) uint8, and a caption of each.
    """
    image = np.ascontiguousarray(photo.image.transpose(1, 2, 0))
    tiles = []
    for region in (photo.mask, *answers):
        tile, scale, corner = fitted(draw_masks(image, region.astype(np.uint8), palette()))
        tiles.append(_with_points(tile, question, asked, scale, corner))
    return tiles, [title, *(f"{iou(a, photo.mask, photo.void):.2f}" for a in answers)]


def sheet(rows: Mapping[str, tuple[list[Image], list[str]]], titles: Sequence[str]) -> Image:
    """Rows of `sheet_row` below one another.

    Args:
        rows: by rank.
        titles: of the answers.
    """
    pictures, captions = zip(*rows.values(), strict=True)
    return panel(pictures, ["asked: the object", *titles], captions)


def fitted(image: Image) -> tuple[Image, float, tuple[float, float]]:
    """An image in a tile (240, 320, 3); its scale, and x, y of its corner."""
    height, width = image.shape[:2]
    scale = min(_HEIGHT / height, _WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile: Image = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    left, top = (_WIDTH - size[0]) // 2, (_HEIGHT - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=how)
    return tile, scale, (float(left), float(top))


def _with_points(
    tile: Image, question: Question, asked: Asked, scale: float, corner: tuple[float, float]
) -> Image:
    def places(points: Points) -> NDArray[np.float32]:
        return np.asarray((points + 0.5) * scale - 0.5 + np.array(corner), np.float32)

    if (pins := pins_of(asked)) is not None:
        points, vectors = question.arrow(pins)
        return draw_arrows(tile, places(points), np.asarray(vectors * scale, np.float32))
    one = asked == "click_1"
    for points, colour in (
        (question.point if one else question.positive, _ON),
        (question.negative[:0] if one else question.negative, _BESIDE),
    ):
        for x, y in places(points):
            place = round(float(x)), round(float(y))
            cv2.circle(tile, place, 4, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(tile, place, 3, colour, -1, cv2.LINE_AA)
    return tile

"""Pictures of what a motion network answers and where it looks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.draw import Image

_CELL = 40
_INK = (30, 30, 30)


def confusion_picture(matrix: NDArray[np.int64], names: Sequence[str]) -> Image:
    """Draw a confusion matrix, its numbers in per cent of each row.

    Args:
        matrix: (K, K) counts, true classes down, predicted ones across.
        names: of the K classes.

    Returns:
        (H, W, 3) uint8.
    """
    count = len(names)
    if matrix.shape != (count, count):
        raise ValueError(f"{count} classes have a matrix {count}x{count}, got {matrix.shape}")
    share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    left = 12 + max(_width(name) for name in names)
    canvas: Image = np.full((_CELL * (count + 1) + 24, left + _CELL * count + 4, 3), 255, np.uint8)
    _text(canvas, "true: rows, predicted: columns, per cent of the row", (4, 16))
    for row in range(count):
        top = 24 + _CELL * (row + 1)
        _text(canvas, names[row], (6, top + 25))
        label = names[row].replace(" ", "")
        _text(canvas, label, (left + _CELL * row + 2, 24 + _CELL - 12), scale=0.38)
        for column in range(count):
            value = float(share[row, column])
            corner = left + _CELL * column, top
            # from white to a blue that dark ink cannot be read on
            colour = tuple(round(255 + value * (end - 255)) for end in (24, 88, 160))
            end = corner[0] + _CELL - 2, corner[1] + _CELL - 2
            cv2.rectangle(canvas, corner, end, colour, cv2.FILLED)
            if matrix[row, column]:
                ink = (255, 255, 255) if value > 0.5 else _INK
                place = corner[0] + 6, corner[1] + 24
                _text(canvas, f"{100 * value:.0f}", place, colour=ink)
    return canvas


def overlay_heat(image: Image, heat: NDArray[np.float32]) -> Image:
    """Lay heat over a picture: dark where it is 0, the picture's own colours and red where it is 1.

    Args:
        image: (H, W, 3) uint8.
        heat: (H, W) float in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    heat = heat[..., None]
    dimmed = image * (0.35 + 0.65 * heat)
    red = np.array([255, 40, 0], np.float32)
    mixed = dimmed + 0.45 * heat * (red - dimmed)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def captioned(image: Image, lines: Sequence[str], *, least_width: int = 0) -> Image:
    """Put lines of text below a picture, which is padded to at least this width."""
    height, width = image.shape[:2]
    wide = max(width, least_width, *(_width(line) + 8 for line in lines))
    canvas: Image = np.full((height + 18 * len(lines) + 4, wide, 3), 255, np.uint8)
    canvas[:height, :width] = image
    for number, line in enumerate(lines):
        _text(canvas, line, (4, height + 15 + 18 * number))
    return canvas


def _text(
    canvas: Image,
    text: str,
    place: tuple[int, int],
    *,
    colour: tuple[int, int, int] = _INK,
    scale: float = 0.45,
) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0])

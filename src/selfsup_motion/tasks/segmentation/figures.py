"""Pictures of label maps: image, truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.reading.masks import palette
from selfsup_motion.ops.draw import Image, panel
from selfsup_motion.ops.overlay import draw_masks

_OPACITY = 0.65
_LEGEND_ROW = 20


def label_panel(
    images: Sequence[Image],
    columns: Sequence[Sequence[NDArray[np.uint8]]],
    titles: Sequence[str],
    names: Sequence[str],
    *,
    side: int = 240,
) -> Image:
    """A row per image: the image, then itself under each of its label maps; below, what the
    colours stand for.

    Args:
        images: (H, W, 3) uint8, of any sizes.
        columns: label maps of every image, (H, W) uint8 of its size, 255 where there is no label.
        titles: of the label maps.
        names: of the classes.
        side: longest side of a picture, pixels.

    Returns:
        (H', W', 3) uint8.
    """
    colours = palette()
    rows = []
    for image, maps in zip(images, columns, strict=True):
        scale = side / max(image.shape[:2])
        size = tuple(max(1, round(scale * length)) for length in image.shape[1::-1])
        smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8)
        row = [small]
        for labels in maps:
            ids = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
            row.append(draw_masks(small, np.asarray(ids, np.uint8), colours, _OPACITY))
        rows.append(row)
    height, width = (max(row[0].shape[axis] for row in rows) for axis in (0, 1))
    padded = [[_padded(picture, height, width) for picture in row] for row in rows]
    sheet = panel(padded, ["image", *titles])
    shown = sorted({int(c) for maps in columns for labels in maps for c in np.unique(labels)})
    return np.concatenate([sheet, _legend(shown, names, colours, sheet.shape[1])])


def _padded(picture: Image, height: int, width: int) -> Image:
    canvas: Image = np.full((height, width, 3), 255, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas


def _legend(
    classes: Sequence[int], names: Sequence[str], colours: NDArray[np.uint8], width: int
) -> Image:
    """Swatches and names, as many to a line as there is room for."""
    places, x, y = [], 6, 0
    for number in classes:
        name = "void" if number == VOID else names[number]
        needed = 30 + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0]
        if x + needed > width and x > 6:
            x, y = 6, y + _LEGEND_ROW
        places.append((x, y, number, name))
        x += needed
    canvas: Image = np.full((y + _LEGEND_ROW + 4, width, 3), 255, np.uint8)
    for x, y, number, name in places:
        colour = tuple(int(part) for part in colours[number])
        cv2.rectangle(canvas, (x, y + 4), (x + 14, y + 16), colour, cv2.FILLED)
        cv2.putText(
            canvas, name, (x + 18, y + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (30, 30, 30), 1,
            cv2.LINE_AA,
        )  # fmt: skip
    return canvas

"""Pictures of motion for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

_TITLE_HEIGHT = 22
_CAPTION_HEIGHT = 18
_INK = (30, 30, 30)
_GAP = 4


def draw_arrows(
    image: Image,
    points: NDArray[np.float32],
    vectors: NDArray[np.float32],
    *,
    magnify: int = 1,
) -> Image:
    """Draw guidance: an arrow per vector, a dot where the vector says "does not move".

    Args:
        image: (H, W, 3) uint8.
        points: (K, 2) x, y in pixels of the image.
        vectors: (K, 2) displacement in pixels.
        magnify: enlarge the picture by this factor before drawing, so that arrows stay fine.

    Returns:
        (H · magnify, W · magnify, 3) uint8.
    """
    height, width = image.shape[:2]
    canvas: Image = cv2.resize(  # type: ignore[assignment]
        image, (width * magnify, height * magnify), interpolation=cv2.INTER_CUBIC
    )
    for thickness, colour in ((3, (0, 0, 0)), (1, (255, 255, 64))):
        for (x, y), (u, v) in zip(points, vectors, strict=True):
            start = (round((x + 0.5) * magnify), round((y + 0.5) * magnify))
            end = (round((x + u + 0.5) * magnify), round((y + v + 0.5) * magnify))
            length = max(1.0, float(np.hypot(end[0] - start[0], end[1] - start[1])))
            if np.hypot(u, v) >= 0.5:
                cv2.arrowedLine(
                    canvas, start, end, colour, thickness, cv2.LINE_AA, tipLength=min(6 / length, 1)
                )
            else:
                cv2.circle(canvas, start, 2, colour, thickness, cv2.LINE_AA)
    return canvas


def panel(
    rows: Sequence[Sequence[Image]],
    titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
) -> Image:
    """Tile pictures under column titles.

    Args:
        rows: pictures of one size, as many in each row as there are titles.
        titles: one a column.
        captions: a text below each picture, its end if it is too long; None: none.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = rows[0][0].shape[:2]
    for row in rows:
        if len(row) != len(titles) or any(tile.shape[:2] != (height, width) for tile in row):
            raise ValueError(
                f"panel needs rows of {len(titles)} pictures of {height}x{width}, got "
                f"{[tile.shape for tile in row]}"
            )
    step = height + _GAP + (0 if captions is None else _CAPTION_HEIGHT)
    total_height = _TITLE_HEIGHT + len(rows) * step
    total_width = len(titles) * (width + _GAP) - _GAP
    canvas: Image = np.full((total_height, total_width, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        left = column * (width + _GAP)
        _write(canvas, title, (left + 3, 15))
        for line, row in enumerate(rows):
            top = _TITLE_HEIGHT + line * step
            canvas[top : top + height, left : left + width] = row[column]
            if captions is not None:
                text = _fitting(captions[line][column], width - 6)
                _write(canvas, text, (left + 3, top + height + 14))
    return canvas


def _fitting(text: str, width: int) -> str:
    """The end of a text that fits into so many pixels, in letters that the font has."""
    text = text.encode("ascii", "replace").decode()
    short = text
    while short and _width(short if short == text else f"..{short}") > width:
        short = short[1:]
    return short if short == text else f"..{short}"


def _write(canvas: Image, text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0])

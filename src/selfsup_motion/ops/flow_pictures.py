"""Flow for people to look at: colours, what is unknown, and a legend."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.flow_color import flow_to_color
from selfsup_motion.ops.masks import check_mask

_STRIPE = 4
_DARK, _LIGHT = 150, 200
_WHEEL = 64
_LINE = 18
_INK = (30, 30, 30)


def flow_picture(
    flow: NDArray[np.float32],
    known: NDArray[np.bool_] | None = None,
    *,
    scale: float | None = None,
    magnify: int = 1,
) -> Image:
    """Paint flow; what is not known is hatched in grey, what is still is white.

    Args:
        flow: (2, H, W) pixels.
        known: (H, W) bool; None: everywhere.
        scale: see `flow_to_color`.
        magnify: enlarge by this factor.

    Returns:
        (H · magnify, W · magnify, 3) uint8.

    Raises:
        ValueError: `known` that is not bool or of another shape.
    """
    colours = flow_to_color(flow, scale).transpose(1, 2, 0)
    picture: Image = np.ascontiguousarray(colours.repeat(magnify, 0).repeat(magnify, 1))
    if known is not None:
        check_mask("known", known, flow.shape[1:])
        unknown = ~known.repeat(magnify, 0).repeat(magnify, 1)
        picture[unknown] = _hatching(picture.shape[0], picture.shape[1])[unknown]
    return picture


def flow_legend(lines: list[str], *, width: int = 0, unknown: bool = False) -> Image:
    """A colour wheel, what its colours mean, and lines of text beside it.

    Args:
        lines: ASCII.
        width: of the picture at least, in pixels.
        unknown: explain the hatching too.

    Returns:
        (H, W, 3) uint8.
    """
    told = ["colour: direction, white: still", *lines]
    swatch = _LINE * len(told)
    height = max(_WHEEL + 8, _LINE * (len(told) + unknown) + 8)
    wide = max(_width(line) for line in [*told, "      motion unknown"])
    legend: Image = np.full((height, max(width, _WHEEL + 16 + wide + 4), 3), 255, np.uint8)
    legend[4 : 4 + _WHEEL, 4 : 4 + _WHEEL] = _wheel()
    for number, line in enumerate(told):
        _text(legend, line, (_WHEEL + 16, 16 + _LINE * number))
    if unknown:
        left = _WHEEL + 16
        legend[swatch + 4 : swatch + 18, left : left + 28] = _hatching(14, 28)
        _text(legend, "motion unknown", (left + 34, swatch + 16))
    return legend


def below(picture: Image, legend: Image) -> Image:
    """A picture with a legend under it, the narrower one padded with white."""
    wide = max(picture.shape[1], legend.shape[1])
    parts = [
        np.pad(part, ((0, 0), (0, wide - part.shape[1]), (0, 0)), constant_values=255)
        for part in (picture, legend)
    ]
    return np.concatenate(parts)


def _wheel() -> Image:
    """(64, 64, 3): each place has the colour of the motion from the centre to it."""
    reach = (_WHEEL - 1) / 2
    y, x = np.mgrid[:_WHEEL, :_WHEEL].astype(np.float32) - np.float32(reach)
    colours: Image = flow_to_color(np.stack([x, y]), reach).transpose(1, 2, 0).copy()
    colours[np.hypot(x, y) > reach] = 255
    return colours


def _hatching(height: int, width: int) -> Image:
    y, x = np.mgrid[:height, :width]
    level = np.where((x + y) // _STRIPE % 2 == 0, _LIGHT, _DARK).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=2)


def _text(canvas: Image, text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0])

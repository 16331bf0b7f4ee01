"""Objects over the image that they belong to: masks, boxes, captions."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.masks import check_mask

_GOLDEN = 0.618034


def draw_objects(
    image: Image,
    boxes: NDArray[np.floating],
    masks: NDArray[np.bool_],
    captions: Sequence[str],
    *,
    opacity: float = 0.45,
) -> Image:
    """Tint, frame and name objects, each in its own colour.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        masks: (N, H, W) bool.
        captions: of each object.
        opacity: of the tint, from 0 to 1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: masks that are not bool or of another shape.
    """
    check_mask("masks", masks, (len(captions), *image.shape[:2]))
    canvas: Image = np.ascontiguousarray(image).copy()
    colours = [
        tuple(round(255 * c) for c in colorsys.hsv_to_rgb(_GOLDEN * i % 1, 0.85, 1))
        for i in range(len(captions))
    ]
    for mask, colour in zip(masks, colours, strict=True):
        tinted = canvas[mask] * (1 - opacity) + np.array(colour) * opacity
        canvas[mask] = tinted.round().astype(np.uint8)
    for (x1, y1, x2, y2), colour in zip(boxes.tolist(), colours, strict=True):
        corner, opposite = (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1)
        cv2.rectangle(canvas, corner, opposite, colour, 1)
    for (x1, y1, _, _), caption, colour in zip(boxes.tolist(), captions, colours, strict=True):
        _write(canvas, caption, round(x1), round(y1), colour)
    return canvas


def _write(canvas: Image, text: str, x: int, y: int, colour: tuple[int, ...]) -> None:
    """Text on a dark strip above (x, y), moved so that all of it is seen."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.36
    (width, height), _ = cv2.getTextSize(text, font, scale, 1)
    x = max(0, min(x, canvas.shape[1] - width - 2))
    y = max(height + 3, y)
    cv2.rectangle(canvas, (x, y - height - 3), (x + width + 1, y), (24, 24, 24), cv2.FILLED)
    cv2.putText(canvas, text, (x + 1, y - 2), font, scale, colour, 1, cv2.LINE_AA)

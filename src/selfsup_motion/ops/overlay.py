"""Labels over the frames that they belong to, for people to look at."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.draw import Image


def draw_masks(
    image: Image, ids: NDArray[np.uint8], colours: NDArray[np.uint8], opacity: float = 0.5
) -> Image:
    """Tint objects and outline them.

    Args:
        image: (H, W, 3) uint8.
        ids: (H, W) uint8 object ids, 0 is left as it is.
        colours: (256, 3) uint8 RGB of the ids.
        opacity: of the tint, from 0 to 1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: ids of another type or size.
    """
    if ids.dtype != np.uint8 or ids.shape != image.shape[:2]:
        raise ValueError(f"ids must be uint8 {image.shape[:2]}, got {ids.dtype} {ids.shape}")
    tint = colours[ids]
    mixed = cv2.addWeighted(image, 1 - opacity, tint, opacity, 0)
    # an outline is where the largest and the smallest id of a neighbourhood differ
    kernel = np.ones((3, 3), np.uint8)
    outline = cv2.dilate(ids, kernel) != cv2.erode(ids, kernel)
    drawn = np.where((ids > 0)[..., None], mixed, image)
    drawn[outline] = cv2.max(tint, colours[cv2.dilate(ids, kernel)])[outline]
    return np.asarray(drawn, np.uint8)


def draw_points(image: Image, points: NDArray[np.float64]) -> Image:
    """Draw a dot for each point, each of its own hue.

    Args:
        image: (H, W, 3) uint8.
        points: (K, 2) x, y in pixels; those with a negative x are lost and not drawn.

    Returns:
        (H, W, 3) uint8.
    """
    canvas: Image = np.ascontiguousarray(image).copy()
    radius = max(2, min(canvas.shape[:2]) // 100)
    for index, (x, y) in enumerate(points):
        if x < 0:
            continue
        rgb = colorsys.hsv_to_rgb(index / len(points), 1, 1)
        colour = tuple(round(255 * part) for part in rgb)
        centre = round(float(x)), round(float(y))
        cv2.circle(canvas, centre, radius + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, radius, colour, -1, cv2.LINE_AA)
    return canvas

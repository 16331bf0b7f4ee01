"""Resizing and cropping of an image together with its flow, on (H, W, C) arrays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.errors import UserError

Size = tuple[int, int]
"""(height, width) in pixels."""


SHORT_SIDES = (16, 8192)
"""Least and largest shorter side, in pixels, that frames and images can be resized to."""


def check_short_side(short_side: int | None, key: str) -> None:
    """Refuse a shorter side that nothing can be resized to.

    Args:
        short_side: in pixels; None keeps the size.
        key: the setting, for the message.

    Raises:
        UserError: it is out of range.
    """
    least, most = SHORT_SIDES
    if short_side is not None and not least <= short_side <= most:
        raise UserError(f"{key}={short_side}: expected {least} to {most} pixels.")


def short_side_size(size: Size, short_side: int) -> Size:
    """The size with this shorter side and the same proportions, rounded."""
    scale = short_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def published_size(size: Size, short_side: int) -> Size:
    """As `short_side_size`, but cut off instead of rounded, as CMP's published code does."""
    height, width = size
    if width < height:
        return int(short_side / width * height), short_side
    return short_side, int(short_side / height * width)


def resize_image(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8; averages when shrinking, cubic when growing."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def resize_bicubic(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 exactly as Pillow's BICUBIC does; several times slower."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def resize_flow(
    flow: NDArray[np.float32], size: Size, *, ratio: float | None = None
) -> NDArray[np.float32]:
    """Resize (H, W, 2) flow bilinearly, and its vectors with it.

    Args:
        flow: in pixels of its own size.
        size: new (height, width).
        ratio: multiply both components by this instead of by the ratio of each axis.
    """
    if flow.shape[:2] == size:
        return flow
    x, y = (ratio, ratio) if ratio else (size[1] / flow.shape[1], size[0] / flow.shape[0])
    resized = cv2.resize(flow, size[::-1], interpolation=cv2.INTER_LINEAR)
    # several times faster than NumPy's product with an array of two; x and y go by channel
    factors = np.array((x, y, 0, 0), np.float64)
    return np.asarray(cv2.multiply(resized, factors), np.float32)


def resize_valid(valid: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """Resize an (H, W) mask; a pixel that mixes in any unknown one is unknown."""
    if valid.shape == size:
        return valid
    if valid.all():
        return np.ones(size, np.bool_)
    return cv2.resize(valid.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.999


def padding(size: Size, least: Size) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Margins ((top, bottom), (left, right)) that make `size` at least `least`; None: no need.

    Half on either side, the odd pixel at the bottom and right.
    """
    missing = [max(0, least[axis] - size[axis]) for axis in (0, 1)]
    if not any(missing):
        return None
    (top, left), (height, width) = (n // 2 for n in missing), missing
    return (top, height - top), (left, width - left)

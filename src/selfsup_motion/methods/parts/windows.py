"""Windows of random size and shape, in which frames are looked at."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 10


def draw_crops(
    rng: np.random.Generator,
    count: int,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int64]:
    """Random windows as torchvision's RandomResizedCrop draws them, all at once.

    Args:
        rng: of the sample.
        count: how many.
        size: (height, width) of what they are cut from, in pixels.
        area: least and largest share of it.
        ratio: least and largest width per height, drawn uniformly in its logarithm.

    Returns:
        (count, 4) top, left, height and width. Where none of ten draws fits: the largest window in
        the middle with a ratio in the range.
    """
    tall, wide = size
    areas = tall * wide * rng.uniform(*area, (count, _ATTEMPTS))
    ratios = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), (count, _ATTEMPTS)))
    widths = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
    heights = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
    fits = (widths > 0) & (widths <= wide) & (heights > 0) & (heights <= tall)
    first = fits.argmax(1)[:, None]
    width, height = (np.take_along_axis(values, first, 1)[:, 0] for values in (widths, heights))
    shares = rng.random((count, 2))
    top = (shares[:, 0] * (tall - height + 1)).astype(np.int64)
    left = (shares[:, 1] * (wide - width + 1)).astype(np.int64)
    crops = np.stack([top, left, height, width], 1)
    crops[~fits.any(1)] = middle_crop(size, ratio)
    return crops


def middle_crop(size: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """The largest window in the middle whose width per height is in the range."""
    tall, wide = size
    height, width = tall, wide
    if wide / tall < ratio[0]:
        height = round(wide / ratio[0])
    elif wide / tall > ratio[1]:
        width = round(tall * ratio[1])
    return (tall - height) // 2, (wide - width) // 2, height, width

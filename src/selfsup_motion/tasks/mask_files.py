"""Masks as indexed PNGs, the format of DAVIS: a pixel's value is the id of its object."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.data.pictures import read_bytes
from selfsup_motion.errors import UserError

Ids = NDArray[np.uint8]
"""(H, W) uint8; 0 is the background."""

MOST_OBJECTS = 255


def palette() -> NDArray[np.uint8]:
    """The colours of VOC and DAVIS, (256, 3) uint8 RGB: the bits of the id, dealt to R, G and B."""
    ids = np.arange(256, dtype=np.int64)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def read_mask(path: Path) -> Ids:
    """An indexed or grey PNG as object ids.

    A grey image of nothing but 0 and 255 is a mask of one object, with id 1.

    Raises:
        UserError: no such file, not an image, a colour image, or ids beyond 255.
    """
    data = read_bytes(path, str(path))
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: cannot be decoded as an image, expected an indexed PNG of object ids."
        ) from error
    if image.mode not in ("P", "L", "1", "I", "I;16"):
        raise UserError(
            f"{path}: is a colour image ({image.mode}), expected an indexed PNG whose pixels are "
            "object ids; save it with a palette."
        )
    ids = np.asarray(image).astype(np.int64)
    if ids.max(initial=0) > MOST_OBJECTS or ids.min(initial=0) < 0:
        raise UserError(
            f"{path}: has object id {ids.max()}, an indexed PNG holds ids up to {MOST_OBJECTS}."
        )
    if image.mode == "L" and ids.max(initial=0) == 255 and not ((ids > 0) & (ids < 255)).any():
        ids //= 255
    return ids.astype(np.uint8)


def write_mask(path: Path, ids: Ids) -> None:
    """Write ids as an indexed PNG with DAVIS's palette."""
    image = Image.fromarray(ids, "L")
    image.putpalette(palette().tobytes())
    image.save(path, format="PNG")

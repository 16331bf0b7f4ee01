"""Masks as indexed PNGs, the format of DAVIS: a pixel's value is the id of its object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.reading.mask_images import decode_mask
from selfsup_motion.data.reading.mask_reading import MOST_OBJECTS, Ids, MaskReader
from selfsup_motion.errors import UserError
from selfsup_motion.ops.palette import palette

__all__ = [
    "MOST_OBJECTS",
    "VOID",
    "Ids",
    "MaskReader",
    "palette",
    "read_ids",
    "read_mask",
    "write_mask",
]


def read_mask(path: Path, frame: str | None = None) -> Ids:
    """A mask that somebody drew, as object ids; see `MaskReader`.

    Args:
        path: the file.
        frame: name of its frame, for a file that has the shapes of several images.

    Returns:
        (H, W) uint8; 0 is the background, 255 void.

    Raises:
        UserError: no such file, or it cannot be a mask of objects.
    """
    return MaskReader([path], frame).read(path)


def read_ids(path: Path) -> Ids:
    """A mask that `write_mask` wrote: its indices, whatever they are.

    Raises:
        UserError: no such file, or of another kind.
    """
    image = decode_mask(path)
    if image.kind == "colour" or image.values.max() > VOID:
        raise UserError(f"{path}: expected an indexed PNG, as results are written.")
    return image.values.astype(np.uint8)


def write_mask(path: Path, ids: Ids) -> None:
    """Write ids as an indexed PNG with DAVIS's palette."""
    image = Image.fromarray(ids, "L")
    image.putpalette(palette().tobytes())
    image.save(path, format="PNG")

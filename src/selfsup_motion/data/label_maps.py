"""Files whose pixels are class ids."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.data.label_classes import VOID, LabelClasses
from selfsup_motion.data.pictures import read_bytes
from selfsup_motion.errors import ClipReadError, UserError

_MODES = ("P", "L", "1", "I", "I;16")


def read_label_map(path: Path, classes: LabelClasses, void: int) -> NDArray[np.uint8]:
    """An indexed or grey PNG as class ids.

    Args:
        path: the file.
        classes: what the ids stand for.
        void: the id that the file gives to pixels without a label.

    Returns:
        (H, W) uint8, `VOID` where there is no label.

    Raises:
        ClipReadError: the file is missing or damaged.
        UserError: a colour image, or an id that is no class: so is then every other file.
    """
    data = read_bytes(path, str(path))
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ClipReadError(
            f"{path} cannot be decoded as an image: the file is damaged.", file=str(path)
        ) from error
    if image.mode not in _MODES:
        raise UserError(
            f"{path} is a colour image ({image.mode}): expected an indexed or grey PNG whose "
            "pixels are class ids, save it with a palette."
        )
    ids = np.asarray(image)
    unlabelled = ids == void
    outside = ~unlabelled & ((ids < 0) | (ids >= len(classes)))
    if outside.any():
        raise UserError(
            f"{path} has class {ids[outside].max()}: expected 0 to {len(classes) - 1}, or {void} "
            "for void; check classes.names and void of the data."
        )
    return np.where(unlabelled, VOID, ids).astype(np.uint8)

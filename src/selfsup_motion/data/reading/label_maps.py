"""Files whose pixels are class ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.label_classes import VOID, LabelClasses
from selfsup_motion.data.reading.mask_images import decode_mask, reordered, used
from selfsup_motion.errors import UserError


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
        UserError: a colour image, a lossy one, one whose palette was put in another order, or an
            id that is no class: so is then every other file.
    """
    image = decode_mask(path)
    if image.kind == "colour":
        raise UserError(
            f"{path} is a colour image (RGB): expected an indexed or grey PNG whose pixels are "
            "class ids; convert all label maps, each colour to the id of its class."
        )
    if image.lossy:
        raise UserError(
            f"{path} is a JPEG, which changes class ids: expected an indexed or grey PNG; make the "
            "label maps from the original ones."
        )
    if reason := reordered(image):
        raise UserError(
            f"{path}: {reason}, so its indices are hardly class ids: expected an indexed or grey "
            "PNG whose pixels are class ids; convert all label maps, each colour to the id of its "
            "class."
        )
    ids = image.values
    unlabelled = ids == void
    outside = ~unlabelled & ((ids < 0) | (ids >= len(classes)))
    if outside.any():
        wrong = used(ids[outside]).tolist()
        others = f" and {len(wrong) - 1} more values" if len(wrong) > 1 else ""
        raise UserError(
            f"{path} has class {wrong[-1]}{others}: expected 0 to {len(classes) - 1}, or {void} "
            "for void; check classes.names and void of the data."
        )
    return np.where(unlabelled, VOID, ids).astype(np.uint8)

"""What somebody painted over masks: it stands, whatever clicks give below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.masks import VOID, read_ids
from selfsup_motion.errors import UserError

NOT_AN_OBJECT = VOID
"""What is painted where no object is."""


def read_corrections(path: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Corrections of a photo's masks.

    Args:
        path: an indexed PNG: 0 leaves what the clicks give, 255 is no object, other values are
            numbers of objects.
        size: (height, width) of the photo.

    Returns:
        (height, width) uint8.

    Raises:
        UserError: no such file, one of another kind, or of another size.
    """
    painted = read_ids(Path(path))
    if painted.shape != size:
        raise UserError(
            f"corrections={path}: has {painted.shape[1]}x{painted.shape[0]} pixels, and the photo "
            f"{size[1]}x{size[0]}; give one of the same size."
        )
    return painted


def painted_objects(corrections: NDArray[np.uint8] | None) -> set[int]:
    """The numbers of the objects that are painted somewhere."""
    if corrections is None:
        return set()
    return {int(value) for value in np.unique(corrections)} - {0, NOT_AN_OBJECT}


def check_objects(corrections: NDArray[np.uint8] | None, count: int) -> None:
    """Refuse corrections that paint an object that is not there.

    Args:
        corrections: (H, W), see `read_corrections`.
        count: of objects.

    Raises:
        UserError: naming the object.
    """
    highest = max(painted_objects(corrections), default=0)
    if highest > count:
        raise UserError(
            f"corrections: paint object {highest}, and objects has {count}; add an entry for each "
            'painted object, {"positive": []} if nothing of it was clicked on.'
        )


def corrected(mask: NDArray[np.uint8], corrections: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) ids with what was painted on top."""
    painted = np.where(corrections == NOT_AN_OBJECT, 0, corrections)
    return np.where(corrections > 0, painted, mask).astype(np.uint8)

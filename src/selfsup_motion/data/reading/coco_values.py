"""Values in COCO's annotation files, checked: numbers, boxes, polygons and run lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.left_out import EntryError
from selfsup_motion.ops.rle import from_counts, pixels_covered

_FAR = 1e6
"""Coordinates beyond it cannot be drawn."""
_MOST_DIGITS = 60

Size = tuple[int, int]
"""Height, width."""


def whole(entry: Mapping[str, Any], key: str, least: int = -(1 << 63)) -> int:
    """A whole number; 3.0 is one, "3" is not. Raises `EntryError`."""
    value = entry.get(key)
    if value is None:
        raise EntryError(f"has no {key}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value != int(value):
        raise EntryError(f"has the {key} {_shown(value)}, expected a whole number")
    if not least <= value < 1 << 63:
        raise EntryError(f"has the {key} {_shown(value)}, expected at least {least}")
    return int(value)


def text(entry: Mapping[str, Any], key: str) -> str:
    """A text that is not empty. Raises `EntryError`."""
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        given = f"no {key}" if value in (None, "") else f"the {key} {_shown(value)}, expected text"
        raise EntryError(f"has {given}")
    return value


def area(entry: Mapping[str, Any]) -> float:
    """Pixels of an object. Raises `EntryError`."""
    value = entry.get("area")
    if value is None:
        raise EntryError("has no area")
    if not _is_number(value) or value < 0:
        raise EntryError(f"has the area {_shown(value)}, expected a number of pixels")
    return float(value)


def crowd(entry: Mapping[str, Any]) -> bool:
    """`iscrowd`, False if it is missing. Raises `EntryError`."""
    value = entry.get("iscrowd", 0)
    if value not in (0, 1):
        raise EntryError(f"has iscrowd {_shown(value)}, expected 0 or 1")
    return bool(value)


def box(entry: Mapping[str, Any], size: Size) -> list[float]:
    """x, y, width, height of a box that is at least partly in its image. Raises `EntryError`."""
    value = entry.get("bbox")
    if value is None:
        raise EntryError("has no bbox")
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise EntryError(f"has the bbox {_shown(value)}, expected four numbers")
    x, y, width, height = value
    if width < 0 or height < 0:
        raise EntryError(f"has the bbox {_shown(value)}, expected x, y, width, height from 0 up")
    if x > size[1] or y > size[0] or x + width < 0 or y + height < 0:
        raise EntryError(
            f"has the bbox {_shown(value)}, outside its image of {size[1]}x{size[0]} (width x "
            "height)"
        )
    return [float(number) for number in value]


def segmentation(value: Any, size: Size) -> list[NDArray[np.float64]] | str:
    """A mask as COCO has it, polygons or run lengths.

    Args:
        value: polygons `[[x, y, x, y, …], …]`, in pairs `[[[x, y], …], …]` as well, or run lengths
            `{"size": [H, W], "counts": …}`, compressed or not.
        size: of the image.

    Returns:
        Polygons, each float64 (2 · corners,) x, y, x, y, …; or compressed run lengths.

    Raises:
        EntryError: something else, or nothing of it is in the image.
    """
    if value is None or value in ([], {}, ""):
        raise EntryError("has no segmentation")
    if isinstance(value, dict):
        return _run_lengths(value, size)
    if not isinstance(value, list):
        raise EntryError(f"has the segmentation {_shown(value)}, expected polygons or run lengths")
    rings = [polygon(ring) for ring in value]
    x, y = np.concatenate(rings).reshape(-1, 2).T
    if x.min() > size[1] or y.min() > size[0] or x.max() < 0 or y.max() < 0:
        raise EntryError(
            f"has polygons outside its image of {size[1]}x{size[0]} pixels (width x height)"
        )
    return rings


def polygon(ring: Any) -> NDArray[np.float64]:
    """Corners of a polygon.

    Args:
        ring: [x, y, x, y, …] or [[x, y], …] in pixels.

    Returns:
        (2 · corners,) x, y, x, y, …

    Raises:
        EntryError: fewer than three corners, or coordinates that are no numbers or far away.
    """
    try:
        corners = np.asarray(ring, np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.zeros(0)
    if corners.ndim == 2 and corners.shape[1] == 2:
        corners = corners.ravel()
    usable = corners.ndim == 1 and len(corners) >= 6 and len(corners) % 2 == 0
    if not usable or not (np.abs(corners) < _FAR).all():
        raise EntryError(
            f"has a broken polygon, expected x, y of three or more corners in pixels, got "
            f"{_shown(ring)}"
        )
    return corners


def _run_lengths(value: Mapping[str, Any], size: Size) -> str:
    counts, covered = value.get("counts"), -1
    if isinstance(counts, str):
        covered = pixels_covered(counts)
    elif isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
        covered = sum(counts)
    if value.get("size") != list(size) or covered != size[0] * size[1]:
        raise EntryError(
            f"has run lengths that do not fit its image of {size[0]}x{size[1]} (height x width)"
        )
    if isinstance(counts, Sequence) and not isinstance(counts, str):
        return str(from_counts(list(counts), size)["counts"])
    return str(counts)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < float("inf")
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}…"

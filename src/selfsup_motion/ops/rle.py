"""Masks as COCO stores them: run lengths, counted down the columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Rle = dict[str, Any]
"""`size`: [height, width]; `counts`: the compressed run lengths, str."""


def encode_masks(masks: NDArray[Any]) -> list[Rle]:
    """(N, H, W) masks, anything that is not zero counts, as run lengths."""
    planes = np.asfortranarray((masks != 0).transpose(1, 2, 0), dtype=np.uint8)
    return [with_text(rle) for rle in coco_mask.encode(planes)]


def decode_masks(rles: list[Rle], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Run lengths as (N, H, W) masks of this (height, width), which they have to fill exactly."""
    if not rles:
        return np.zeros((0, *size), np.bool_)
    planes = coco_mask.decode(rles)
    return np.ascontiguousarray(planes.transpose(2, 0, 1)).astype(np.bool_)


def from_polygons(rings: list[list[float]], size: tuple[int, int]) -> Rle:
    """The union of polygons, each x, y, x, y, … in pixels, drawn exactly as pycocotools does."""
    return with_text(coco_mask.merge(coco_mask.frPyObjects(rings, *size)))


def from_counts(counts: list[int], size: tuple[int, int]) -> Rle:
    """Run lengths that are not compressed, beginning with those of zeros."""
    return with_text(coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size))


def pixels_covered(counts: str) -> int:
    """Sum of compressed run lengths: the pixels they fill, which pycocotools does not check.

    -1 if one of them is negative. Each number is in groups of five bits, the lowest first, a sixth
    says that more follow; from the fourth on, it is the difference to the one before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode():
        group = code - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return sum(runs) if min(runs, default=0) >= 0 else -1


def with_text(rle: Rle) -> Rle:
    """As JSON can hold it."""
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}

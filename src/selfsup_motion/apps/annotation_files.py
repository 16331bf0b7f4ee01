"""Masks as other programs read them: the JSON of COCO and of LabelMe."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.ops.rle import encode_masks

Mask = NDArray[np.bool_]


def coco(mask: NDArray[np.uint8], names: Sequence[str], photo: str) -> dict[str, Any]:
    """COCO's instance annotations of one image.

    Objects of the same name are of one category. Masks are compressed run lengths, which keep
    every pixel and holes; objects without a pixel are left out.

    Args:
        mask: (H, W) numbers of objects, from 1.
        names: of the objects.
        photo: file name of the image.
    """
    height, width = mask.shape
    categories = list(dict.fromkeys(names))
    annotations: list[dict[str, Any]] = []
    for number, name in enumerate(names, start=1):
        own = mask == number
        if not own.any():
            continue
        (rle,) = encode_masks(own[None])
        left, top, right, bottom = _box(own)
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": categories.index(name) + 1,
                "segmentation": rle,
                "area": int(own.sum()),
                "bbox": [left, top, right - left + 1, bottom - top + 1],
                "iscrowd": 0,
            }
        )
    return {
        "images": [{"id": 1, "file_name": photo, "width": width, "height": height}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, start=1)],
        "annotations": annotations,
    }


def labelme(mask: NDArray[np.uint8], names: Sequence[str], photo: str) -> dict[str, Any]:
    """LabelMe's file of one image.

    Objects are polygons, one for each connected part, with the object's number as `group_id`. One
    that polygons cannot draw exactly, as it has holes or lines a pixel wide, is a `mask`.

    Args:
        mask: (H, W) numbers of objects, from 1.
        names: of the objects.
        photo: file name of the image.
    """
    height, width = mask.shape
    shapes = []
    for number, name in enumerate(names, start=1):
        own = mask == number
        outlines = _outlines(own)
        parts: list[tuple[str, Any, str | None]]
        parts = [("polygon", outline.tolist(), None) for outline in outlines]
        if not _drawn_exactly(outlines, own):
            left, top, right, bottom = _box(own)
            inside = own[top : bottom + 1, left : right + 1]
            parts = [("mask", [[left, top], [right, bottom]], _png(inside))]
        for kind, points, image in parts:
            shapes.append(
                {
                    "label": name,
                    "points": points,
                    "group_id": number,
                    "description": "",
                    "shape_type": kind,
                    "flags": {},
                    "mask": image,
                }
            )
    return {
        "version": "5.5.0",  # of LabelMe's format; the first with masks was 5.3
        "flags": {},
        "shapes": shapes,
        "imagePath": photo,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _outlines(own: Mask) -> list[NDArray[np.int32]]:
    """(N, 2) x, y of the pixels around each connected part."""
    found, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(outline[:, 0], np.int32) for outline in found]


def _drawn_exactly(outlines: Sequence[NDArray[np.int32]], own: Mask) -> bool:
    if any(len(outline) < 3 for outline in outlines):
        return False
    canvas = np.zeros(own.shape, np.uint8)
    for outline in outlines:
        cv2.fillPoly(canvas, [outline], (1,))
    return bool(((canvas > 0) == own).all())


def _box(own: Mask) -> tuple[int, int, int, int]:
    """The outermost pixels of a mask that has some: left, top, right, bottom."""
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _png(own: Mask) -> str:
    file = io.BytesIO()
    Image.fromarray(own).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()

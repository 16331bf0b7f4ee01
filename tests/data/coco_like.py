"""A small data set in COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
SIZE = (40, 60)


def polygon(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def annotation(number: int, image: int, box: list[float], category: int = 18) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
        "segmentation": polygon(*box),
    }


def crowd(number: int, image: int) -> dict[str, Any]:
    """The right half of the image, as run lengths that are not compressed."""
    height, width = SIZE
    half = height * width // 2
    return {
        **annotation(number, image, [width / 2, 0, width / 2, height], 3),
        "iscrowd": 1,
        "segmentation": {"size": [height, width], "counts": [half, half]},
    }


def content() -> dict[str, Any]:
    """Image 7: two objects and a crowd; 2: none; 30: one of two pieces; 4: a crowd only."""
    pieces = annotation(14, 30, [5, 5, 40, 10], 90)
    pieces["segmentation"] = polygon(5, 5, 10, 10) + polygon(35, 5, 10, 10)
    pieces["area"] = 200
    return {
        "images": [
            {"id": number, "file_name": f"{number:012d}.jpg", "height": SIZE[0], "width": SIZE[1]}
            for number in (7, 2, 30, 4)
        ],
        "categories": CATEGORIES[::-1],
        "annotations": [
            crowd(11, 7),
            pieces,
            annotation(12, 7, [4, 6, 20, 10]),
            annotation(13, 7, [10.5, 8.25, 12.5, 20], 3),
            crowd(15, 4),
        ],
    }


def write_coco(root: Path, made: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """The annotation file and the folder of images, for training and validation alike."""
    made = made or content()
    rng = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        for image in made["images"]:
            noise = rng.integers(0, 255, (*SIZE, 3), np.uint8)
            cv2.imwrite(str(root / split / image["file_name"]), noise)
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(made))
    return root / "annotations" / "instances_val2017.json", root / "val2017"

"""COCO's annotation files: instances in one json, read into a few arrays."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.files import PathList
from selfsup_motion.errors import UserError
from selfsup_motion.ops.rle import Rle, from_counts, from_polygons, pixels_covered

log = logging.getLogger(__name__)


def read_categories(annotations: str | Path) -> dict[int, str]:
    """Id and name of each category of an annotation file, by rising id.

    Raises:
        UserError: no such file, or none of COCO's.
    """
    path = Path(annotations)
    return _categories(path, _load(path))


@dataclass(frozen=True)
class CocoFile:
    """What instance segmentation needs of an annotation file; objects are ordered by image.

    Arrays instead of a million Python objects: half a gigabyte for COCO's training set, that
    worker processes share.
    """

    path: Path
    categories: Mapping[int, str]
    image_ids: NDArray[np.int64]
    """(I,)"""
    sizes: NDArray[np.int64]
    """(I, 2) height, width."""
    names: PathList
    """Of the image files."""
    first: NDArray[np.int64]
    """(I + 1,) objects of image i are first[i] to first[i + 1]."""
    object_ids: NDArray[np.int64]
    """(N,) of the annotations."""
    category_ids: NDArray[np.int64]
    """(N,)"""
    boxes: NDArray[np.float64]
    """(N, 4) x, y of the corner, width, height."""
    areas: NDArray[np.float64]
    """(N,) pixels, as the file says."""
    crowd: NDArray[np.bool_]
    """(N,) a crowd that is not told apart."""
    points: NDArray[np.float64]
    """All polygons, x, y, x, y, …, one after the other."""
    ring_ends: NDArray[np.int64]
    """(R,) where each polygon ends in `points`."""
    first_ring: NDArray[np.int64]
    """(N + 1,) polygons of object n are first_ring[n] to first_ring[n + 1]."""
    run_lengths: Mapping[int, str]
    """Compressed, of the objects that have these instead of polygons."""

    def objects(self, image: int) -> range:
        """Those of an image."""
        return range(int(self.first[image]), int(self.first[image + 1]))

    def rle(self, number: int, size: tuple[int, int]) -> Rle:
        """Mask of object `number`, in an image of this (height, width)."""
        if number in self.run_lengths:
            return {"size": list(size), "counts": self.run_lengths[number]}
        rings = []
        for ring in range(int(self.first_ring[number]), int(self.first_ring[number + 1])):
            start = int(self.ring_ends[ring - 1]) if ring else 0
            rings.append(self.points[start : int(self.ring_ends[ring])].tolist())
        return from_polygons(rings, size)


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file.

    Annotations without a mask (an empty list) are left out, with a warning.

    Raises:
        UserError: no such file, or something in it is missing or contradicts itself; names the
            file and the entry.
    """
    content = _load(path)
    categories = _categories(path, content)
    images = _entries(path, content, "images")
    ids, sizes, names = [], [], []
    for number, image in enumerate(images):
        where = f"images[{number}]"
        ids.append(_number(path, image, "id", where))
        sizes.append([_number(path, image, side, where) for side in ("height", "width")])
        names.append(_value(path, image, "file_name", str, where))
    position = {image_id: number for number, image_id in enumerate(ids)}
    if len(position) != len(ids):
        twice = next(image_id for n, image_id in enumerate(ids) if position[image_id] != n)
        raise UserError(f"{path}: two images have the id {twice}.")

    kept: list[tuple[int, int, dict[str, Any]]] = []
    no_mask: list[tuple[int, int, dict[str, Any]]] = []
    for number, annotation in enumerate(_entries(path, content, "annotations")):
        where = f"annotations[{number}]"
        image_id = _number(path, annotation, "image_id", where)
        if image_id not in position:
            raise UserError(f"{path}: {where} is of image {image_id}, which is not among images.")
        category = _number(path, annotation, "category_id", where)
        if category not in categories:
            raise UserError(f"{path}: {where} has the unknown category_id {category}.")
        masked = bool(_value(path, annotation, "segmentation", (list, dict), where))
        (kept if masked else no_mask).append((position[image_id], number, annotation))
    if no_mask:
        shown = ", ".join(f"annotations[{number}]" for _, number, _ in no_mask[:3])
        log.warning("%s: %d annotations without a mask are left out (%s%s).",
                    path, len(no_mask), shown, ", …" if len(no_mask) > 3 else "")  # fmt: skip
    kept.sort(key=lambda entry: entry[:2])
    counts = np.bincount([image for image, _, _ in kept], minlength=len(ids))
    return CocoFile(
        path=path,
        categories=categories,
        image_ids=np.array(ids, np.int64),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        names=PathList(names),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        **_objects(path, kept, sizes),
    )


def _objects(
    path: Path, entries: list[tuple[int, int, dict[str, Any]]], sizes: list[list[int]]
) -> dict[str, Any]:
    """The arrays of `CocoFile` that have an entry for each object."""
    boxes = np.zeros((len(entries), 4))
    ids, categories, areas, crowd = [], [], [], []
    points: list[NDArray[np.float64]] = []
    first_ring, run_lengths = [0], {}
    for index, (image, number, annotation) in enumerate(entries):
        where = f"annotations[{number}]"
        ids.append(annotation.get("id", number))
        categories.append(annotation["category_id"])
        areas.append(_value(path, annotation, "area", (int, float), where))
        crowd.append(bool(annotation.get("iscrowd", 0)))
        box = _value(path, annotation, "bbox", list, where)
        try:
            boxes[index] = box
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: {where} has the bbox {box}, not four numbers.") from error
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            points += _rings(path, shape, where)
        else:
            run_lengths[index] = _run_lengths(path, shape, sizes[image], where)
        first_ring.append(len(points))
    return {
        "object_ids": np.array(ids, np.int64),
        "category_ids": np.array(categories, np.int64),
        "boxes": boxes,
        "areas": np.array(areas, np.float64),
        "crowd": np.array(crowd, np.bool_),
        "points": np.concatenate(points) if points else np.zeros(0),
        "ring_ends": np.cumsum([len(ring) for ring in points], dtype=np.int64),
        "first_ring": np.array(first_ring, np.int64),
        "run_lengths": run_lengths,
    }


def _rings(path: Path, shape: list[Any], where: str) -> list[NDArray[np.float64]]:
    rings = []
    for ring in shape:
        try:
            corners = np.asarray(ring, np.float64)
        except (TypeError, ValueError):
            corners = np.zeros(0)
        if (
            corners.ndim != 1
            or len(corners) < 6
            or len(corners) % 2
            or not np.all(np.isfinite(corners))
        ):
            raise UserError(
                f"{path}: {where} has a broken polygon: expected x, y of three or more corners, "
                f"got {str(ring)[:60]}."
            )
        rings.append(corners)
    return rings


def _run_lengths(path: Path, shape: dict[str, Any], size: list[int], where: str) -> str:
    counts, covered = shape.get("counts"), -1
    if isinstance(counts, (list, str)):
        covered = pixels_covered(counts) if isinstance(counts, str) else sum(counts)
    if shape.get("size") != size or covered != size[0] * size[1]:
        raise UserError(
            f"{path}: {where} has run lengths that do not fit its image of "
            f"{size[0]}x{size[1]} (height x width)."
        )
    if isinstance(counts, list):
        counts = from_counts(counts, (size[0], size[1]))["counts"]
    return str(counts)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"The annotation file {path} cannot be read ({error.strerror}): set data.annotations "
            "and data.val_annotations, or data.root to a folder with annotations/instances_*.json."
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not a json file ({error}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a COCO annotation file: expected a mapping with images.")
    return content


def _entries(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: not a COCO annotation file: it has no list of {key}.")
    return entries


def _categories(path: Path, content: dict[str, Any]) -> dict[int, str]:
    found = {}
    for number, category in enumerate(_entries(path, content, "categories")):
        where = f"categories[{number}]"
        name = _value(path, category, "name", str, where)
        found[_number(path, category, "id", where)] = name
    if not found:
        raise UserError(f"{path}: it has no categories.")
    return dict(sorted(found.items()))


def _number(path: Path, entry: dict[str, Any], key: str, where: str) -> int:
    return int(_value(path, entry, key, int, where))


def _value(path: Path, entry: dict[str, Any], key: str, kind: Any, where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind):
        what = "no" if value is None else "a wrong"
        raise UserError(f"{path}: {where} has {what} {key}.")
    return value

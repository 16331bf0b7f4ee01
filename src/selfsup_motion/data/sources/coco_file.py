"""COCO's annotation files: instances in one json, read into a few arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading import coco_values as values
from selfsup_motion.data.reading.left_out import EntryError, LeftOut
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.errors import UserError
from selfsup_motion.ops.rle import Rle, from_polygons


def read_categories(annotations: str | Path, *, max_bad_entries: float = 0.1) -> dict[int, str]:
    """Id and name of each category of an annotation file, by rising id.

    Args:
        annotations: the file.
        max_bad_entries: share of unusable categories above which it is refused, in [0, 1].

    Raises:
        UserError: no such file, none of COCO's, or too many categories that cannot be used.
    """
    path = Path(annotations)
    return _categories(path, _load(path), max_bad_entries)


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


def read_coco(path: Path, max_bad_entries: float = 0.1) -> CocoFile:
    """Read an annotation file.

    Images, categories and annotations that cannot be used are left out, named in the log and
    counted (`LeftOut`); so are annotations of an image or a category that is left out.

    Args:
        path: the file.
        max_bad_entries: share of unusable images, categories or annotations above which the file is
            refused, in [0, 1].

    Raises:
        UserError: no such file, none of COCO's, or too many entries that cannot be used; names the
            file and the first such entries.
    """
    content = _load(path)
    categories = _categories(path, content, max_bad_entries)
    ids, sizes, names = _images(path, content, max_bad_entries)
    position = {image_id: number for number, image_id in enumerate(ids)}
    left_out = LeftOut(path, "annotations", max_bad_entries)
    entries = _entries(path, content, "annotations")
    objects: list[_Object] = []
    known: set[int] = set()
    for number, entry in enumerate(entries):
        try:
            objects.append(_object(entry, position, sizes, categories, known))
        except EntryError as error:
            left_out.add(number, error)
    left_out.finish(len(entries))
    objects.sort(key=lambda found: found.image)  # stable: in the order of the file
    counts = np.bincount([found.image for found in objects], minlength=len(ids))
    rings = [() if isinstance(found.mask, str) else found.mask for found in objects]
    points = [ring for some in rings for ring in some]
    return CocoFile(
        path=path,
        categories=categories,
        image_ids=np.array(ids, np.int64),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        names=PathList(names),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        category_ids=np.array([found.category for found in objects], np.int64),
        boxes=np.array([found.box for found in objects], np.float64).reshape(-1, 4),
        areas=np.array([found.area for found in objects], np.float64),
        crowd=np.array([found.crowd for found in objects], np.bool_),
        points=np.concatenate(points) if points else np.zeros(0),
        ring_ends=np.cumsum([len(ring) for ring in points], dtype=np.int64),
        first_ring=np.cumsum([0, *map(len, rings)], dtype=np.int64),
        run_lengths={
            place: found.mask for place, found in enumerate(objects) if isinstance(found.mask, str)
        },
    )


class _Object(NamedTuple):
    """An annotation that can be used."""

    image: int
    """Place among the images."""
    category: int
    box: list[float]
    area: float
    crowd: bool
    mask: list[NDArray[np.float64]] | str
    """Polygons, or compressed run lengths."""


def _object(
    entry: Any,
    position: Mapping[int, int],
    sizes: Sequence[tuple[int, int]],
    categories: Mapping[int, str],
    known: set[int],
) -> _Object:
    """Check an annotation, whose id must not be among those known; raises `EntryError`."""
    _check_mapping(entry)
    if "id" in entry:
        own = values.whole(entry, "id")
        if own in known:
            raise EntryError(f"has the id {own} of an annotation before it")
        known.add(own)
    image_id = values.whole(entry, "image_id")
    if image_id not in position:
        raise EntryError(f"is of image {image_id}, which is not among the usable images")
    category = values.whole(entry, "category_id")
    if category not in categories:
        raise EntryError(f"has the unknown category_id {category}")
    image = position[image_id]
    mask = values.segmentation(entry.get("segmentation"), sizes[image])
    box = values.box(entry, sizes[image])
    return _Object(image, category, box, values.area(entry), values.crowd(entry), mask)


def _images(
    path: Path, content: dict[str, Any], max_bad_entries: float
) -> tuple[list[int], list[tuple[int, int]], list[str]]:
    """Ids, sizes and file names of the images that can be used."""
    left_out = LeftOut(path, "images", max_bad_entries)
    entries = _entries(path, content, "images")
    found: dict[int, tuple[tuple[int, int], str]] = {}
    places: dict[int, int] = {}
    doubtful: set[int] = set()
    for number, entry in enumerate(entries):
        try:
            _check_mapping(entry)
            image_id = values.whole(entry, "id")
            size = values.whole(entry, "height", 1), values.whole(entry, "width", 1)
            described = size, values.text(entry, "file_name")
            if image_id in found:
                if found[image_id] != described:
                    doubtful.add(image_id)
                raise EntryError(f"has the id {image_id} of images[{places[image_id]}]")
            found[image_id], places[image_id] = described, number
        except EntryError as error:
            left_out.add(number, error)
    for image_id in sorted(doubtful):  # nobody knows whose the annotations are
        left_out.add(places[image_id], f"shares its id {image_id} with another image")
        del found[image_id]
    left_out.finish(len(entries))
    sizes = [size for size, _ in found.values()]
    return list(found), sizes, [name for _, name in found.values()]


def _categories(path: Path, content: dict[str, Any], max_bad_entries: float) -> dict[int, str]:
    left_out = LeftOut(path, "categories", max_bad_entries)
    entries = _entries(path, content, "categories")
    found: dict[int, str] = {}
    for number, entry in enumerate(entries):
        try:
            _check_mapping(entry)
            own, name = values.whole(entry, "id"), values.text(entry, "name")
            if own in found:
                raise EntryError(f"has the id {own} of another category, {found[own]}")
            found[own] = name
        except EntryError as error:
            left_out.add(number, error)
    left_out.finish(len(entries))
    if not found:
        raise UserError(f"{path}: it has no categories.")
    return dict(sorted(found.items()))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = parsed_json(path.read_bytes(), str(path), unique=False)
    except OSError as error:
        raise UserError(
            f"The annotation file {path} cannot be read ({error.strerror}): set data.annotations "
            "and data.val_annotations, or data.root to a folder with annotations/instances_*.json"
            f"{_others(path)}."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a COCO annotation file: expected a mapping with images.")
    return content


def _others(path: Path) -> str:
    """Annotation files that there are beside a missing one."""
    root = path.parent.parent
    found = sorted([*root.glob("*.json"), *root.glob("*/*.json")]) if root.is_dir() else []
    names = [str(file.relative_to(root)) for file in found[:3]]
    return f"; {root} has {', '.join(names)}" if names else ""


def _entries(path: Path, content: dict[str, Any], key: str) -> list[Any]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path}: not a COCO annotation file: it has no list of {key}.")
    return entries


def _check_mapping(entry: Any) -> None:
    if not isinstance(entry, dict):
        raise EntryError("is not a mapping")

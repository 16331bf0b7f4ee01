"""Masks that were drawn as polygons: the JSON of LabelMe, and annotations of COCO."""

from __future__ import annotations

import base64
import io
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.data.reading.left_out import EntryError
from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.data.reading.pictures import read_bytes
from selfsup_motion.errors import UserError

_MOST = 254
_KINDS = "polygon, rectangle, circle and mask"


class ShapeNumbers:
    """Ids of instances, in the order in which they are met.

    Attributes:
        names: label of each id.
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self._ids: dict[tuple[str, object], int] = {}

    def id_of(self, label: str, instance: object, path: Path) -> int:
        """The id of an instance, a new one if it has not been met.

        Raises:
            UserError: there are more than fit into 8 bits.
        """
        key = label, instance
        if key not in self._ids:
            if len(self._ids) >= _MOST:
                raise UserError(f"{path}: at most {_MOST} objects can be followed.")
            self._ids[key] = len(self._ids) + 1
            self.names[self._ids[key]] = label
        return self._ids[key]


def read_shapes(path: Path, frame: str | None, numbers: ShapeNumbers) -> NDArray[np.uint8]:
    """Draw the shapes of a JSON file, an object each; later ones cover earlier ones.

    Shapes of LabelMe with the same label and `group_id` are one object, those without a `group_id`
    one each. Of a COCO file with several images, the one whose file is called as `frame` is taken.

    Args:
        path: the file.
        frame: name of the frame, without extension.
        numbers: the ids so far; gets those that are new.

    Returns:
        (H, W) uint8 ids.

    Raises:
        UserError: no such file, another format, no size, or a shape that cannot be drawn.
    """
    content = parsed_json(read_bytes(path, str(path)), str(path))
    if isinstance(content, dict) and isinstance(content.get("shapes"), list):
        return _labelme(path, content, numbers)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _coco(path, content, frame, numbers)
    raise UserError(
        f"{path}: expected the polygons of LabelMe (a mapping with shapes) or of COCO (with images "
        "and annotations), or an image; use points= for a list of points."
    )


def _labelme(path: Path, content: dict[str, Any], numbers: ShapeNumbers) -> NDArray[np.uint8]:
    size = _size(path, content, "imageHeight", "imageWidth")
    ids = np.zeros(size, np.uint8)
    met: dict[str, int] = {}
    for number, shape in enumerate(content["shapes"]):
        where = f"shapes[{number}]"
        if not isinstance(shape, dict):
            raise UserError(f"{path}: {where} is not a mapping.")
        label, group = str(shape.get("label", "object")), shape.get("group_id")
        if group is None:
            met[label] = met.get(label, 0) + 1
        instance = ("group", str(group)) if group is not None else met[label]
        drawn = _draw(path, where, shape, size)
        ids[drawn] = numbers.id_of(label, instance, path)
    return ids


def _draw(
    path: Path, where: str, shape: dict[str, Any], size: tuple[int, int]
) -> NDArray[np.bool_]:
    kind = shape.get("shape_type") or "polygon"
    points = _points(path, where, shape.get("points"))
    canvas = np.zeros(size, np.uint8)
    if kind == "polygon" and len(points) >= 3:
        _fill(canvas, points)
    elif kind == "rectangle" and len(points) in (2, 4):  # two corners, in recent versions four
        low, high = points.min(0), points.max(0)
        _fill(canvas, np.array([low, (high[0], low[1]), high, (low[0], high[1])]))
    elif kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        rows, columns = np.mgrid[: size[0], : size[1]]
        canvas[(columns - points[0, 0]) ** 2 + (rows - points[0, 1]) ** 2 <= radius**2] = 1
    elif kind == "mask" and len(points) == 2 and isinstance(shape.get("mask"), str):
        _paste(path, where, canvas, shape["mask"], points)
    else:
        raise UserError(
            f"{path}: {where} ({shape.get('label')}) is a {kind} of {len(points)} points, which "
            f"has no area; expected {_KINDS}."
        )
    return canvas > 0


def _fill(canvas: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    far = 4 * max(canvas.shape)  # OpenCV counts in 32 bits
    corners = np.rint(np.clip(points, -far, far) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [corners], (1,), shift=4)


def _paste(
    path: Path, where: str, canvas: NDArray[np.uint8], text: str, points: NDArray[np.float64]
) -> None:
    try:
        part = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("L")) > 0
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: {where} has a mask that cannot be decoded.") from error
    left, top = np.rint(points.min(0)).astype(int)
    height, width = part.shape
    if left < 0 or top < 0 or top + height > canvas.shape[0] or left + width > canvas.shape[1]:
        raise UserError(
            f"{path}: {where} has a mask that reaches beyond the image of {canvas.shape[1]}x"
            f"{canvas.shape[0]} pixels."
        )
    canvas[top : top + height, left : left + width] = part


def _points(path: Path, where: str, value: Any) -> NDArray[np.float64]:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise UserError(f"{path}: {where} has no points, expected [[x, y], …] in pixels.")
    return points


def _coco(
    path: Path, content: dict[str, Any], frame: str | None, numbers: ShapeNumbers
) -> NDArray[np.uint8]:
    from selfsup_motion.data.reading.coco_values import segmentation
    from selfsup_motion.ops.rle import decode_masks, from_polygons

    image = _image(path, content.get("images"), frame)
    size = _size(path, image, "height", "width")
    names = {
        entry.get("id"): str(entry.get("name"))
        for entry in content.get("categories") or []
        if isinstance(entry, dict)
    }
    ids = np.zeros(size, np.uint8)
    met: dict[str, int] = {}
    for number, annotation in enumerate(content["annotations"]):
        where = f"annotations[{number}]"
        if not isinstance(annotation, dict):
            raise UserError(f"{path}: {where} is not a mapping.")
        if str(annotation.get("image_id")) != str(image.get("id")):
            continue
        label = names.get(annotation.get("category_id"), "object")
        met[label] = met.get(label, 0) + 1
        try:
            mask = segmentation(annotation.get("segmentation"), size)
        except EntryError as error:
            raise UserError(f"{path}: {where} {error}.") from error
        if isinstance(mask, str):
            rle = {"size": list(size), "counts": mask}
        else:
            rle = from_polygons([ring.tolist() for ring in mask], size)
        ids[decode_masks([rle], size)[0]] = numbers.id_of(label, met[label], path)
    return ids


def _image(path: Path, images: Any, frame: str | None) -> dict[str, Any]:
    """The image that is meant."""
    if not isinstance(images, list) or not images or not all(isinstance(i, dict) for i in images):
        raise UserError(f"{path}: has no images.")
    if len(images) == 1:
        return dict(images[0])
    meant = [i for i in images if frame is not None and _stem(i.get("file_name")) == frame]
    if len(meant) != 1:
        called = "" if frame is None else f", and {len(meant) or 'none'} of them is called {frame}"
        raise UserError(
            f"{path}: has {len(images)} images{called}; keep only the image and the annotations "
            "of the frame that is marked."
        )
    return dict(meant[0])


def _stem(name: Any) -> str:
    return PurePosixPath(PureWindowsPath(str(name)).as_posix()).stem


def _size(path: Path, entry: dict[str, Any], height: str, width: str) -> tuple[int, int]:
    sides = entry.get(height), entry.get(width)
    if not all(isinstance(side, int) and 0 < side < 1 << 16 for side in sides):
        raise UserError(f"{path}: does not say how large its image is ({height}, {width}).")
    return sides  # type: ignore[return-value]

"""Pictures of instance segmentation: truth and detections side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.geometry import resize_image
from selfsup_motion.ops.draw import Image, panel
from selfsup_motion.ops.instance_pictures import draw_objects
from selfsup_motion.ops.rle import Rle, decode_masks
from selfsup_motion.tasks.instances.coco_scores import Entry
from selfsup_motion.tasks.instances.detections import Detections

SHOWN = 0.3
"""Detections with less than this score are not drawn."""


def instance_panel(
    images: Sequence[Image],
    truths: Sequence[Entry],
    found: Sequence[Detections],
    names: Mapping[int, str],
    *,
    side: int = 320,
) -> Image:
    """A row per image: its true objects, its detected ones with their scores.

    Args:
        images: (H, W, 3) uint8, at any size.
        truths: see `InstanceView`; crowds are marked.
        found: see `Detections`; labels count `names` from 1.
        names: of the categories, by rising id.
        side: longest side of a picture, pixels.

    Returns:
        (H', W', 3) uint8.
    """
    by_label = [name for _, name in sorted(names.items())]
    rows = []
    for image, truth, detections in zip(images, truths, found, strict=True):
        annotations = truth["annotations"]
        boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        captions = [names[a["category_id"]] + " (crowd)" * a["iscrowd"] for a in annotations]
        rles = [a["segmentation"] for a in annotations]
        size = truth["height"], truth["width"]
        shown = [n for n, score in enumerate(detections.scores) if score >= SHOWN]
        scored = [f"{by_label[detections.labels[n] - 1]} {detections.scores[n]:.2f}" for n in shown]
        masks = [detections.masks[n] for n in shown]
        rows.append(
            [
                _picture(image, size, boxes, rles, captions, side),
                _picture(image, size, detections.boxes[shown], masks, scored, side),
            ]
        )
    return panel(rows, ["truth", f"detected, score {SHOWN} and more"])


def _picture(
    image: Image,
    size: tuple[int, int],
    boxes: NDArray[np.floating],
    rles: list[Rle],
    captions: list[str],
    side: int,
) -> Image:
    """A square with the image in its corner."""
    scale = side / max(size)
    height, width = (max(1, round(scale * length)) for length in size)
    resized = resize_image(image, (height, width))
    masks = [
        cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        for mask in decode_masks(rles, size)
    ]
    planes = np.array(masks, np.bool_).reshape(-1, height, width)
    canvas: Image = np.full((side, side, 3), 255, np.uint8)
    canvas[:height, :width] = draw_objects(resized, boxes * scale, planes, captions)
    return canvas

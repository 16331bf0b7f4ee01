"""What Mask R-CNN found in an image, in the image's own pixels and in COCO's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.roi_heads import (  # type: ignore[import-untyped]
    paste_masks_in_image,
)

from selfsup_motion.ops.rle import Rle, encode_masks
from selfsup_motion.tasks.instances.coco_scores import Entry, Kind

_AT_A_TIME = 20
"""Masks that are held at full size at once."""


@dataclass(frozen=True)
class Detections:
    """The N objects of an image, the best first."""

    boxes: NDArray[np.float32]
    """(N, 4) x1, y1, x2, y2."""
    scores: NDArray[np.float32]
    """(N,) in [0, 1]."""
    labels: NDArray[np.int64]
    """(N,) from 1."""
    masks: list[Rle]


def full_size(
    found: dict[str, Tensor], size: tuple[int, int], original: tuple[int, int]
) -> Detections:
    """Scale detections to another size of their image.

    Args:
        found: of one image, see `MaskRCNN`.
        size: (height, width) that they are in pixels of.
        original: (height, width) that they are wanted in.
    """
    scale = [original[1] / size[1], original[0] / size[0]]
    boxes = found["boxes"].float() * torch.tensor(scale * 2, device=found["boxes"].device)
    masks: list[Rle] = []
    for start in range(0, len(boxes), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        pasted = paste_masks_in_image(found["masks"][some].float(), boxes[some], original)
        masks += encode_masks((pasted[:, 0] > 0.5).cpu().numpy())
    return Detections(
        boxes.cpu().numpy(), found["scores"].cpu().numpy(), found["labels"].cpu().numpy(), masks
    )


def results(
    found: Detections, image_id: int, category_ids: Sequence[int]
) -> dict[Kind, list[Entry]]:
    """As COCO's results files have them: boxes in one, masks in the other.

    Args:
        found: objects of the image.
        image_id: of the image.
        category_ids: of the labels 1, 2, ….
    """
    common = [
        {"image_id": image_id, "category_id": category_ids[label - 1], "score": score}
        for label, score in zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
    boxes = [
        {**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for entry, (x1, y1, x2, y2) in zip(common, found.boxes.tolist(), strict=True)
    ]
    masks = [{**entry, "segmentation": rle} for entry, rle in zip(common, found.masks, strict=True)]
    return {"bbox": boxes, "segm": masks}

"""What instance segmentation sees of an image: resized, mirrored, with its objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.geometry import Size, resize_image
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.ops.rle import encode_masks

LABELS = ("image_id", "object_masks", "boxes", "areas", "categories", "crowd")
"""What a clip has to bring, see `data.coco.CocoInstances`."""

CELL = 32
"""Batches are padded to multiples of the encoder's coarsest stride."""


class InstanceView(View):
    """Clip → an image and its objects; uses the clip's first frame.

    A training sample: `image` uint8 (3, H, W); of its N objects, crowds left out, `boxes` float32
    (N, 4) x1, y1, x2, y2; `categories` int64 (N,); `masks` uint8 (N, H, W). N may be 0.

    A validation sample: `image`; and `truth`, a dict as COCO's json has them: of the image `id`,
    `height` and `width`, as it was before resizing, and its `annotations`, crowds included, with
    masks as run lengths.

    Samples have many sizes: `collate` makes a batch.
    """

    def __init__(
        self, *, short_sides: Sequence[int], long_side: int, flip: bool, train: bool
    ) -> None:
        """Define the view.

        Args:
            short_sides: the image is resized to a short side drawn from these, in pixels; in
                validation, to the last one.
            long_side: at most; longer images get a smaller short side.
            flip: mirror half of the samples left-right (training only).
            train: as above.
        """
        if not short_sides or not 0 < min(short_sides) <= max(short_sides) <= long_side:
            raise UserError(
                f"view.short_sides={list(short_sides)}: expected one or more lengths in pixels, up "
                f"to view.long_side={long_side}."
            )
        self.short_sides, self.long_side = tuple(short_sides), long_side
        self.flip, self.train = flip, train

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Any]:
        """Make a sample; all its randomness comes from `rng`."""
        missing = [name for name in LABELS if name not in clip.labels]
        if missing:
            raise UserError(
                f"Instance segmentation learns from objects, but {clip.key} has no {missing[0]}: "
                "choose data=coco or data=toy_instances."
            )
        image = np.ascontiguousarray(clip.frames[0].transpose(1, 2, 0))
        size = image.shape[0], image.shape[1]
        short = int(rng.choice(self.short_sides)) if self.train else self.short_sides[-1]
        new = self._size(size, short)
        flip = self.train and self.flip and rng.random() < 0.5
        image = resize_image(image, new)
        if flip:
            image = np.ascontiguousarray(image[:, ::-1])
        sample: dict[str, Any] = {"image": torch.from_numpy(image).permute(2, 0, 1)}
        if self.train:
            return sample | _objects(clip.labels, new, flip=flip)
        return sample | {"truth": _truth(clip.labels, size)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch of B samples.

        Returns:
            `image` uint8 (B, 3, H, W), padded at the right and at the bottom to multiples of
            `CELL`; `size` int64 (B, 2) of the images within it; in training, the N objects of all
            images one after the other, `item` int64 (N,) the place of each one's image in the
            batch, and `boxes`, `categories`, `masks` as above; in validation, a list `truth`.
        """
        images = [sample["image"] for sample in samples]
        sizes = torch.tensor([image.shape[-2:] for image in images])
        height, width = (-(-int(side) // CELL) * CELL for side in sizes.amax(0))
        batch: dict[str, Any] = {
            "image": torch.stack([_padded(image, height, width) for image in images]),
            "size": sizes,
        }
        if not self.train:
            return batch | {"truth": [sample["truth"] for sample in samples]}
        counts = torch.tensor([len(sample["boxes"]) for sample in samples])
        batch["item"] = torch.repeat_interleave(torch.arange(len(samples)), counts)
        batch["masks"] = torch.cat([_padded(s["masks"], height, width) for s in samples])
        for name in ("boxes", "categories"):
            batch[name] = torch.cat([sample[name] for sample in samples])
        return batch

    def _size(self, size: Size, short_side: int) -> Size:
        scale = min(short_side / min(size), self.long_side / max(size))
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _objects(labels: Any, size: Size, *, flip: bool) -> dict[str, Tensor]:
    """What can be learnt from: no crowds, no boxes without any size."""
    old, boxes = labels["object_masks"].shape[1:], labels["boxes"]
    learnable = ~labels["crowd"] & (boxes[:, 2:] > 0).all(1)
    x, y, width, height = boxes[learnable].T
    across, down = size[1] / old[1], size[0] / old[0]
    corners = np.stack([x * across, y * down, (x + width) * across, (y + height) * down], 1)
    masks = _resize_masks(labels["object_masks"][learnable], size)
    if flip:
        corners[:, [0, 2]] = size[1] - corners[:, [2, 0]]
        masks = masks[:, :, ::-1]
    return {
        "boxes": torch.from_numpy(corners.astype(np.float32)),
        "categories": torch.from_numpy(labels["categories"][learnable]),
        "masks": torch.from_numpy(np.ascontiguousarray(masks, np.uint8)),
    }


def _truth(labels: Any, size: Size) -> dict[str, Any]:
    annotations = [
        {
            "category_id": int(category),
            "bbox": box.tolist(),
            "area": float(area),
            "iscrowd": int(crowd),
            "segmentation": rle,
        }
        for category, box, area, crowd, rle in zip(
            labels["categories"],
            labels["boxes"],
            labels["areas"],
            labels["crowd"],
            encode_masks(labels["object_masks"]),
            strict=True,
        )
    ]
    return {
        "id": int(labels["image_id"]),
        "height": size[0],
        "width": size[1],
        "annotations": annotations,
    }


def _resize_masks(masks: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """(N, H, W) by nearest neighbours."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows][:, :, columns]


def _padded(image: Tensor, height: int, width: int) -> Tensor:
    """(N, h, w) with zeros at the right and at the bottom."""
    canvas = image.new_zeros((len(image), height, width))
    canvas[:, : image.shape[1], : image.shape[2]] = image
    return canvas

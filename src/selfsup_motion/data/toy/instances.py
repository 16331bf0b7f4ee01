"""The toy world as a data set of instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.toy.appearance import CLASSES
from selfsup_motion.data.toy.world import ToyWorld

MIN_AREA = 20
"""Pixels: an object of which less is seen counts as background."""


def categories() -> dict[int, str]:
    """Id and name of each kind of object."""
    return {number: name for number, name in enumerate(CLASSES) if number > 0}


class ToyInstances(ToyWorld):
    """`ToyWorld` with the labels of `CocoInstances`, of a clip's first frame.

    Objects are what is seen of them: an object in two pieces has one box around both.
    """

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Render frames of video `index`, with everything that is known about them."""
        clip = super().read(index, frame_indices)
        ids = clip.labels["masks"][0]
        classes = clip.labels["object_classes"]
        numbers = np.arange(1, len(classes) + 1)
        masks: NDArray[np.bool_] = np.equal.outer(numbers, ids)
        areas = masks.sum((1, 2))
        seen = areas >= MIN_AREA
        labels = {
            "image_id": np.array(index * self.num_frames + frame_indices[0]),
            "object_masks": masks[seen],
            "boxes": _boxes(masks[seen]),
            "areas": areas[seen].astype(np.float64),
            "categories": classes[seen].astype(np.int64),
            "crowd": np.zeros(int(seen.sum()), np.bool_),
        }
        return replace(clip, labels={**clip.labels, **labels})


def _boxes(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, H, W) masks, none empty -> (N, 4) float64 x, y of the corner, width, height."""
    sides = []
    for axis in (1, 2):  # first what the columns say, then the rows
        hit = np.asarray(masks.any(axis))
        low = hit.argmax(1)
        sides.append((low, hit.shape[1] - hit[:, ::-1].argmax(1) - low))
    (x, width), (y, height) = sides
    return np.stack([x, y, width, height], axis=1).astype(np.float64)

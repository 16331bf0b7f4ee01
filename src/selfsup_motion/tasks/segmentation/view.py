"""What training and validation of dense tasks see of a labelled image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.geometry import padding, resize_image, short_side_size
from selfsup_motion.data.reading.label_classes import VOID, LabelClasses
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError

_MARGIN = (124, 116, 104)
"""Colour beyond the image's border: the mean of ImageNet."""

Sample = dict[str, Tensor]


class SegmentationView(View):
    """First frame and labels of a clip → a training crop, or the whole image for validation.

    Training: `image` uint8 (3, S, S) and `labels` uint8 (S, S), 255 where there is no label; a
    random part of the image at a random scale, mirrored half of the time, with a margin where the
    image is smaller than the crop.

    Validation: `image` uint8 (3, h, w) and `labels` uint8 (H, W) of the image's own size; a batch
    has a list of each.
    """

    first_frame_only = True
    """Of a clip's frames, only the first is looked at."""

    def __init__(
        self,
        *,
        classes: LabelClasses,
        labels: str,
        crop_size: int,
        short_side: int | None,
        scale: tuple[float, float],
        flip: bool,
        train: bool,
    ) -> None:
        """Define the view.

        Args:
            classes: of the labels; says which of them a mirror exchanges.
            labels: entry of `Clip.labels` to learn: "semantic", or "parts" of the toy world.
            crop_size: S, pixels.
            short_side: images are resized to it, also for validation (labels are not: predictions
                are compared at the size of the labels); None: as they are.
            scale: range that the size of a training image is multiplied by, drawn uniformly on a
                logarithmic scale.
            flip: mirror half of the training images.
            train: crops; else whole images.

        Raises:
            UserError: a value out of range.
        """
        self.classes, self.labels, self.crop_size = classes, labels, crop_size
        self.short_side, self.scale, self.flip, self.train = short_side, scale, flip, train
        if crop_size < 32:
            raise UserError(f"view.crop_size={crop_size}: expected at least 32 pixels.")
        if short_side is not None and short_side < 32:
            raise UserError(f"view.short_side={short_side}: expected at least 32 pixels.")
        if not 0 < scale[0] <= scale[1]:
            raise UserError(
                f"view.scale=[{scale[0]}, {scale[1]}]: expected two positive factors, the smaller "
                "first."
            )

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Sample:
        """Make a sample; all its randomness comes from `rng`.

        Raises:
            UserError: the clip has no such labels.
        """
        if self.labels not in clip.labels:
            raise UserError(
                f"{clip.key} has no labels {self.labels!r}: choose data with labels, or set "
                f"view.labels to one of {', '.join(clip.labels) or 'those that there are'}."
            )
        image = np.ascontiguousarray(clip.frames[0].transpose(1, 2, 0))
        labels = np.asarray(clip.labels[self.labels][0], np.uint8)
        if self.train:
            image, labels = self._crop(image, labels, rng)
        elif self.short_side is not None:
            image = resize_image(image, short_side_size(labels.shape, self.short_side))
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "labels": torch.from_numpy(np.ascontiguousarray(labels)),
        }

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor | list[Tensor]]:
        """A batch: crops stacked, whole images as lists, because their sizes differ."""
        if self.train:
            stacked: dict[str, Tensor | list[Tensor]] = default_collate(list(samples))
            return stacked
        return {name: [sample[name] for sample in samples] for name in samples[0]}

    def _crop(
        self, image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = labels.shape
        short = min(height, width) if self.short_side is None else self.short_side
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        size = short_side_size((height, width), max(1, round(factor * short)))
        image, labels = resize_image(image, size), resize_labels(labels, size)
        side = self.crop_size
        if margins := padding(size, (side, side)):
            (top, bottom), (left, right) = margins
            image, labels = (
                np.asarray(
                    cv2.copyMakeBorder(
                        array, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value
                    ),
                    np.uint8,
                )
                for array, value in ((image, _MARGIN), (labels, (VOID,)))
            )
        top, left = (int(rng.integers(n - side + 1)) for n in labels.shape)
        window = slice(top, top + side), slice(left, left + side)
        image, labels = image[window], labels[window]
        if self.flip and rng.random() < 0.5:
            image, labels = image[:, ::-1], self.classes.mirror(labels)
        return image, labels


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W) class ids to (height, width): each pixel takes that of the nearest one."""
    if labels.shape == size:
        return labels
    resized = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.uint8)

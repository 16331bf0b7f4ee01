"""Photos with masks of objects: frames of videos, or stills. Imports no PyTorch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.source import Source
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.sequences import Frame, LabelledVideo

log = logging.getLogger(__name__)

Objects = Literal["together", "each"]

_LEAST_OUTSIDE = 0.01
"""Share of the photo that an object has to leave free: pins go there."""


@dataclass(frozen=True)
class Photo:
    """A photo and the object in it that is asked for.

    Attributes:
        name: of photo and object; the points are drawn by it.
        image: (3, H, W) uint8 RGB.
        mask: (H, W) bool, the object.
        void: (H, W) bool, pixels that do not count.
    """

    name: str
    image: Frame
    mask: NDArray[np.bool_]
    void: NDArray[np.bool_]


class MaskedPhotos(Protocol):
    """Photos, in groups that are scored one after the other: a video, or a still by itself."""

    names: Sequence[str]
    """Of the groups."""

    def open(self, name: str) -> Sequence[Photo]:
        """The photos of a group, one for each object that is asked for.

        Raises:
            UserError: a file is missing or wrong.
        """
        ...


class MaskedVideo(LabelledVideo, Protocol):
    """A video of which single frames can be read."""

    @property
    def annotated(self) -> Sequence[int]:
        """Numbers of the frames that have a mask."""
        ...

    def frame(self, index: int) -> Frame:
        """One frame."""
        ...


class MaskedVideos(Protocol):
    """A set of them."""

    names: Sequence[str]

    def open(self, name: str) -> MaskedVideo:
        """The video of that name."""
        ...


class SequencePhotos:
    """Three frames of every video: of its n annotated ones, those numbered 0, n/3 and 2n/3.

    Args:
        source: videos with masks.
        objects: "together": all objects of a frame are one; "each": each is asked for by itself.
        min_area: objects that cover a smaller share of the frame are left out, in [0, 1).
    """

    def __init__(self, source: MaskedVideos, *, objects: Objects, min_area: float) -> None:
        self._source, self._objects = source, objects
        self._min_area = _checked_area(min_area)

    @cached_property
    def names(self) -> list[str]:
        """Of the videos."""
        return list(self._source.names)

    def open(self, name: str) -> list[Photo]:
        """The three frames, as often as there are objects in them."""
        video = self._source.open(name)
        count = len(video.annotated)
        photos: list[Photo] = []
        for number in sorted({0, count // 3, 2 * count // 3} if count else ()):
            index = video.annotated[number]
            ids, image = video.mask(index), video.frame(index)
            assert ids is not None
            if ids.shape != image.shape[1:]:
                raise UserError(
                    f"{name}: frame {video.frame_names[index]} is {image.shape[1]}x"
                    f"{image.shape[2]} pixels, its mask {ids.shape[0]}x{ids.shape[1]}; they must "
                    "be of one size."
                )
            void = ids == VOID
            masks = {f"{name}/{number}": (ids > 0) & ~void}
            if self._objects == "each":
                masks = {f"{name}/{number}/{i}": ids == i for i in _ids(ids)}
            photos += _asked(image, masks, void, self._min_area)
        return photos


class StillPhotos:
    """Labelled stills; each of their objects is asked for by itself.

    Args:
        source: with the labels `object_masks` and `crowd` (COCO's layout; crowds are void), or
            `semantic` (label maps; each id is an object).
        min_area: objects that cover a smaller share of the photo are left out, in [0, 1).
    """

    def __init__(self, source: Source, *, min_area: float) -> None:
        self._source, self._min_area = source, _checked_area(min_area)

    @cached_property
    def names(self) -> list[str]:
        """Names of the images without extension; where two are alike, with their folders."""
        paths = [Path(self._source.name(i)) for i in range(len(self._source))]
        stems = [path.stem for path in paths]
        if len(set(stems)) == len(stems):
            return stems
        top = os.path.commonpath([path.parent for path in paths])
        return [path.relative_to(top).with_suffix("").as_posix() for path in paths]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def open(self, name: str) -> list[Photo]:
        """The photo, as often as there are objects in it."""
        clip = self._source.read(self._numbers[name], [0])
        image, labels = np.asarray(clip.frames[0]), clip.labels
        if "object_masks" in labels:
            objects, crowd = np.asarray(labels["object_masks"]), np.asarray(labels["crowd"])
            void = np.logical_or.reduce(objects[crowd], axis=0, dtype=np.bool_)
            numbered = {
                number: mask & ~void
                for number, (mask, many) in enumerate(zip(objects, crowd, strict=True), start=1)
                if not many
            }
        elif "semantic" in labels:
            ids = np.asarray(labels["semantic"][0])
            void = np.equal(ids, VOID)
            numbered = {i: ids == i for i in _ids(ids)}
        else:
            raise UserError(f"{clip.key}: has no masks of objects, choose other data.")
        masks = {f"{name}/{number}": mask for number, mask in numbered.items()}
        return list(_asked(image, masks, void, self._min_area))


def _asked(
    image: Frame, masks: dict[str, NDArray[np.bool_]], void: NDArray[np.bool_], min_area: float
) -> Iterator[Photo]:
    """A photo of each mask that can be pointed at."""
    for name, mask in masks.items():
        outside = 1 - float((mask | void).mean())
        if mask.any() and mask.mean() >= min_area and outside >= _LEAST_OUTSIDE:
            yield Photo(name, image, mask, void)


def _ids(ids: NDArray[np.uint8]) -> list[int]:
    """Objects of a mask, in rising order."""
    found: list[int] = np.flatnonzero(np.bincount(ids.ravel(), minlength=256)).tolist()
    return [i for i in found if i not in (0, VOID)]


def _checked_area(share: float) -> float:
    if not 0 <= share < 1:
        raise UserError(f"data.photos.min_area={share:g}: expected a share from 0 to below 1.")
    return share

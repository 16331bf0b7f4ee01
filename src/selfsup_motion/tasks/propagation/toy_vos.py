"""The toy version of YouTube-VOS: objects of the toy world, the last of which is given later."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.data.source import Source
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.vos_videos import VosObject

_ID_STEP = 3
"""Ids are 3, 6, …, so that they have gaps as the real ones may have."""


class ToyVos:
    """The first frames of the videos of a labelled source, where they show an object.

    Args:
        source: clips with `masks`.
        length: frames of a video.
        stride: every how many frames one is taken.
    """

    scored = True
    about = "toy videos, all frames"

    def __init__(self, source: Source, *, length: int, stride: int) -> None:
        available = source.info(0).num_frames
        if length < 1 or stride < 1 or (length - 1) * stride >= available:
            raise ValueError(
                f"{length} frames, one in {stride}, do not fit into videos of {available} frames: "
                "change data.sequences.length or data.stride"
            )
        self._source, self._indices = source, list(range(0, length * stride, stride))

    @cached_property
    def names(self) -> list[str]:
        """`toy-000000`, …"""
        videos = range(len(self._source))
        shown = (i for i in videos if self._source.read(i, [0]).labels["masks"].any())
        return [f"toy-{index:06d}" for index in shown]

    def open(self, name: str) -> ToyVosVideo:
        """The video of that name."""
        index = int(name.rpartition("-")[2])
        return ToyVosVideo(name, self._source, index, self._indices)


class ToyVosVideo:
    """One video. If the first frame shows several objects, the last one is given half-way.

    Args:
        name: of the video.
        source: that it is from.
        index: its number there.
        indices: the frames to take.
    """

    def __init__(self, name: str, source: Source, index: int, indices: list[int]) -> None:
        self.name = name
        self._clip = source.read(index, indices)
        self.frame_names = [f"{t:05d}" for t in range(len(indices))]
        masks = np.asarray(self._clip.labels["masks"], np.uint8)
        shown = [int(i) for i in np.unique(masks[0]) if i]
        half = len(indices) // 2
        later = [t for t in range(half, len(indices)) if (masks[t] == shown[-1]).any()]
        starts = dict.fromkeys(shown, 0)
        if len(shown) > 1 and later:
            starts[shown[-1]] = later[0]
        self.objects = {
            _ID_STEP * number: VosObject(start, range(start, len(indices)))
            for number, start in starts.items()
        }
        table = np.zeros(256, np.uint8)
        table[shown] = [_ID_STEP * number for number in shown]
        self._masks = table[masks]

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        yield from self._clip.frames

    def mask(self, index: int) -> Ids:
        """(H, W) ids of a frame."""
        mask: Ids = self._masks[index]
        return mask

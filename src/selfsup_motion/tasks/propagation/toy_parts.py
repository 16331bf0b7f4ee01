"""The toy version of VIP: the parts of the toy world's puppets, each of which is an instance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.data.source import Source
from selfsup_motion.data.toy.scene import LIMBS
from selfsup_motion.tasks.propagation.parsed_videos import Instances
from selfsup_motion.tasks.propagation.sequences import Frame


class ToyParts:
    """The first frames of the videos of a labelled source, where they show a puppet.

    Args:
        source: clips with `parts`.
        length: frames of a video.
        stride: every how many frames one is taken.
    """

    class_names = ("background", "torso", *LIMBS)

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
        shown = (i for i in videos if self._source.read(i, [0]).labels["parts"].any())
        return [f"toy-{index:06d}" for index in shown]

    def open(self, name: str) -> ToyParsedVideo:
        """The video of that name."""
        index = int(name.rpartition("-")[2])
        return ToyParsedVideo(name, self._source, index, self._indices)


class ToyParsedVideo:
    """One video.

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

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        yield from self._clip.frames

    def parts(self, index: int) -> Ids:
        """(H, W) parts of a frame."""
        return np.asarray(self._clip.labels["parts"][index], np.uint8)

    def instances(self, index: int) -> Instances:
        """The same: there is a single puppet."""
        ids = self.parts(index)
        return Instances(ids, {int(i): int(i) for i in np.unique(ids) if i})

"""Toy versions of the tracking tasks: clips of the toy world with its masks and joints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.source import Source
from selfsup_motion.tasks.propagation.sequences import Frame

_ABSENT = 0  # third component of a keypoint


class ToySequences:
    """The first frames of the videos of a labelled source, where they show an object.

    Args:
        source: clips with `masks` and `keypoints`.
        length: frames of a sequence.
        stride: every how many frames one is taken.
    """

    def __init__(self, source: Source, *, length: int, stride: int) -> None:
        self._source = source
        if length < 1 or stride < 1:
            raise ValueError(f"length and stride must be at least 1, got {length} and {stride}")
        available = source.info(0).num_frames
        if (length - 1) * stride >= available:
            raise ValueError(
                f"{length} frames, one in {stride}, do not fit into videos of {available} frames: "
                "lower data.sequences.length or data.stride"
            )
        self._indices = range(0, length * stride, stride)

    @cached_property
    def names(self) -> list[str]:
        """`toy-000000`, …"""
        videos = range(len(self._source))
        shown = (i for i in videos if self._source.read(i, [0]).labels["masks"].any())
        return [f"toy-{index:06d}" for index in shown]

    def open(self, name: str) -> ToyVideo:
        """The video of that name."""
        return ToyVideo(name, self._source, int(name.rpartition("-")[2]), list(self._indices))


class ToyVideo:
    """One video. Objects that the first frame does not show are background.

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
        seen = np.flatnonzero(np.bincount(masks[0].ravel(), minlength=256)[1:]) + 1
        new_ids = np.zeros(256, np.uint8)
        new_ids[seen] = np.arange(1, len(seen) + 1)
        self._masks = new_ids[masks]

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        yield from self._clip.frames

    def frame(self, index: int) -> Frame:
        """One frame."""
        frame: Frame = self._clip.frames[index]
        return frame

    @property
    def annotated(self) -> range:
        """Numbers of the frames that have a mask: all."""
        return range(len(self.frame_names))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Object ids of a frame."""
        mask: NDArray[np.uint8] = self._masks[index]
        return mask

    def keypoints(self) -> NDArray[np.float64]:
        """The joints, nan while there is no puppet."""
        joints = np.asarray(self._clip.labels["keypoints"], np.float64)
        return np.where(joints[..., 2:] == _ABSENT, np.nan, joints[..., :2])

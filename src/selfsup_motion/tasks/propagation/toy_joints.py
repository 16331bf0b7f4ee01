"""The toy version of BADJA: the joints of the toy world's puppets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.source import Source
from selfsup_motion.tasks.propagation.sequences import Frame

_ABSENT, _VISIBLE = 0, 2  # third component of a keypoint


class ToyJoints:
    """The first frames of the videos of a labelled source, where they show a puppet.

    Args:
        source: clips with `keypoints` and `parts`.
        length: frames of a video.
        stride: every how many frames one is taken.
    """

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

    def open(self, name: str) -> ToyJointVideo:
        """The video of that name."""
        index = int(name.rpartition("-")[2])
        return ToyJointVideo(name, self._source, index, self._indices)


class ToyJointVideo:
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

    def joints(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(T, K, 2) x, y in pixels of the joints that the puppet has, and (T, K) which are seen."""
        joints = np.asarray(self._clip.labels["keypoints"], np.float64)
        joints = joints[:, (joints[..., 2] != _ABSENT).any(0)]
        return joints[..., :2], joints[..., 2] == _VISIBLE

    def animal(self, index: int) -> NDArray[np.bool_]:
        """(H, W) the puppet's pixels in a frame."""
        parts: NDArray[np.uint8] = self._clip.labels["parts"][index]
        return parts > 0

"""What the toy versions of the tasks have in common: clips of the toy world, by name."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import Source


class ToyClips:
    """The first frames of the videos of a labelled source, where the first one shows something.

    A subclass says with `label` which labels must not be 0 everywhere in that frame.

    Args:
        source: clips with labels.
        length: frames of a video.
        stride: every how many frames one is taken.
    """

    label: ClassVar[str]

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
        shown = (i for i in videos if self._source.read(i, [0]).labels[self.label].any())
        return [f"toy-{index:06d}" for index in shown]

    def clip(self, name: str) -> Clip:
        """The frames and labels of that name."""
        return self._source.read(int(name.rpartition("-")[2]), self._indices)


def numbered(clip: Clip) -> list[str]:
    """`00000`, …: a name for each frame."""
    return [f"{time:05d}" for time in range(len(clip.frames))]


def absent(joints: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of joints (…, 3), which the puppet does not have."""
    return np.equal(joints[..., 2], 0)


def visible(joints: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of joints (…, 3), which are in the image and not hidden."""
    return np.equal(joints[..., 2], 2)

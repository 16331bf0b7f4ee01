"""The toy version of TAP-Vid: the joints of the toy world's puppets as tracks."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from selfsup_motion.data.source import Source
from selfsup_motion.tasks.propagation.tapvid_files import TrackedVideo

_ABSENT, _VISIBLE = 0, 2  # third component of a keypoint


class ToyTracks:
    """The first frames of the videos of a labelled source, where they show a joint.

    Args:
        source: clips with `keypoints`.
        length: frames of a video.
        stride: every how many frames one is taken.
    """

    def __init__(self, source: Source, *, length: int, stride: int) -> None:
        available = source.info(0).num_frames
        if length < 1 or stride < 1 or (length - 1) * stride >= available:
            raise ValueError(
                f"{length} frames, one in {stride}, do not fit into videos of {available} frames: "
                "change data.tracks.length or data.stride"
            )
        self._source, self._indices = source, range(0, length * stride, stride)

    @cached_property
    def names(self) -> list[str]:
        """`toy-000000`, …"""
        videos = range(len(self._source))
        shown = (i for i in videos if self._joints(i, [0])[..., 2].any())
        return [f"toy-{index:06d}" for index in shown]

    def open(self, name: str) -> TrackedVideo:
        """The video of that name."""
        clip = self._source.read(int(name.rpartition("-")[2]), list(self._indices))
        joints = np.asarray(clip.labels["keypoints"], np.float64).transpose(1, 0, 2)
        joints = joints[(joints[..., 2] != _ABSENT).any(1)]
        size = clip.frames.shape[:1:-1]
        # whole numbers are the centres of pixels there
        points = (joints[..., :2] + 0.5) / size
        return TrackedVideo(name, clip.frames, points, joints[..., 2] != _VISIBLE)

    def _joints(self, index: int, times: list[int]) -> np.ndarray:
        return np.asarray(self._source.read(index, times).labels["keypoints"])

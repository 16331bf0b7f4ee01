"""The toy version of BADJA: the joints of the toy world's puppets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.toy_clips import ToyClips, absent, numbered, visible


class ToyJoints(ToyClips):
    """Videos whose first frame shows a puppet."""

    label = "parts"

    def open(self, name: str) -> ToyJointVideo:
        """The video of that name."""
        return ToyJointVideo(name, self.clip(name))


class ToyJointVideo:
    """One video.

    Args:
        name: of the video.
        clip: with `keypoints` and `parts`.
    """

    def __init__(self, name: str, clip: Clip) -> None:
        self.name, self._clip = name, clip
        self.frame_names = numbered(clip)

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        yield from self._clip.frames

    def joints(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(T, K, 2) x, y in pixels of the joints that the puppet has, and (T, K) which are seen."""
        joints = np.asarray(self._clip.labels["keypoints"], np.float64)
        joints = joints[:, ~absent(joints).all(0)]
        return joints[..., :2], visible(joints)

    def animal(self, index: int) -> NDArray[np.bool_]:
        """(H, W) the puppet's pixels in a frame."""
        parts: NDArray[np.uint8] = self._clip.labels["parts"][index]
        return parts > 0

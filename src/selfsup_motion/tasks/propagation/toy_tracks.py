"""The toy version of TAP-Vid: the joints of the toy world's puppets as tracks."""

from __future__ import annotations

import numpy as np

from selfsup_motion.tasks.propagation.tapvid_files import TrackedVideo
from selfsup_motion.tasks.propagation.toy_clips import ToyClips, absent, visible


class ToyTracks(ToyClips):
    """Videos whose first frame shows a puppet."""

    label = "parts"

    def open(self, name: str) -> TrackedVideo:
        """The video of that name."""
        clip = self.clip(name)
        joints = np.asarray(clip.labels["keypoints"], np.float64).transpose(1, 0, 2)
        joints = joints[~absent(joints).all(1)]
        # whole numbers are the centres of pixels there
        points = (joints[..., :2] + 0.5) / clip.frames.shape[:1:-1]
        return TrackedVideo(name, clip.frames, points, ~visible(joints))

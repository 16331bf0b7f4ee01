"""The toy version of VIP: the parts of the toy world's puppets, each of which is an instance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.data.toy.scene import LIMBS
from selfsup_motion.tasks.propagation.parsed_videos import Instances
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.toy_clips import ToyClips, numbered


class ToyParts(ToyClips):
    """Videos whose first frame shows a puppet."""

    label = "parts"
    class_names = ("background", "torso", *LIMBS)

    def open(self, name: str) -> ToyParsedVideo:
        """The video of that name."""
        return ToyParsedVideo(name, self.clip(name))


class ToyParsedVideo:
    """One video.

    Args:
        name: of the video.
        clip: with `parts`.
    """

    def __init__(self, name: str, clip: Clip) -> None:
        self.name, self._clip = name, clip
        self.frame_names = numbered(clip)

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

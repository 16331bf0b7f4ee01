"""The toy version of YouTube-VOS: objects of the toy world, the last of which is given later."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.toy_clips import ToyClips, numbered
from selfsup_motion.tasks.propagation.vos_videos import VosObject

_ID_STEP = 3
"""Ids are 3, 6, …, so that they have gaps as the real ones may have."""


class ToyVos(ToyClips):
    """Videos whose first frame shows an object."""

    label = "masks"
    scored = True
    about = "toy videos, all frames"

    def open(self, name: str) -> ToyVosVideo:
        """The video of that name."""
        return ToyVosVideo(name, self.clip(name))


class ToyVosVideo:
    """One video. If the first frame shows several objects, the last one is given half-way.

    Args:
        name: of the video.
        clip: with `masks`.
    """

    def __init__(self, name: str, clip: Clip) -> None:
        self.name, self._clip = name, clip
        self.frame_names = numbered(clip)
        masks = np.asarray(self._clip.labels["masks"], np.uint8)
        shown = [int(i) for i in np.unique(masks[0]) if i]
        half = len(masks) // 2
        later = [t for t in range(half, len(masks)) if (masks[t] == shown[-1]).any()]
        starts = dict.fromkeys(shown, 0)
        if len(shown) > 1 and later:
            starts[shown[-1]] = later[0]
        self.objects = {
            _ID_STEP * number: VosObject(start, range(start, len(masks)))
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

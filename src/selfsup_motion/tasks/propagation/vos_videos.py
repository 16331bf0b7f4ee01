"""What YouTube-VOS's task reads: videos whose objects appear one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.tasks.propagation.sequences import Frame


@dataclass(frozen=True)
class VosObject:
    """An object of a video.

    Attributes:
        start: number of the frame in which it is given.
        asked: numbers of the frames in which it counts, in rising order; the first is `start`.
        category: what it is; None: not known.
    """

    start: int
    asked: Sequence[int]
    category: str | None = None


class VosVideo(Protocol):
    """One video, from the first frame on in which an object is given."""

    name: str
    frame_names: Sequence[str]

    @property
    def objects(self) -> Mapping[int, VosObject]:
        """By id; ids need not be contiguous."""
        ...

    def frames(self) -> Iterator[Frame]:
        """All frames in order, of one size."""
        ...

    def mask(self, index: int) -> Ids | None:
        """(H, W) ids of a frame, also those of objects that began earlier; None: not annotated."""
        ...


class VosVideos(Protocol):
    """A set of them."""

    @property
    def names(self) -> Sequence[str]:
        """Of all videos."""
        ...

    @property
    def scored(self) -> bool:
        """Whether the frames after an object's first are annotated, too."""
        ...

    @property
    def about(self) -> str:
        """Which videos and which frames they are, for the log."""
        ...

    def open(self, name: str) -> VosVideo:
        """The video of that name."""
        ...


def asked_frames(video: VosVideo) -> list[int]:
    """Numbers of the frames whose results are wanted."""
    return sorted({time for thing in video.objects.values() for time in thing.asked})

"""What VIP's task reads: videos whose frames are parsed into parts, and instances of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.tasks.propagation.sequences import Frame


@dataclass(frozen=True)
class Instances:
    """The instances of parts in a frame.

    Attributes:
        ids: (H, W) uint8; 0 where there is none.
        classes: of each id.
    """

    ids: Ids
    classes: Mapping[int, int]


class ParsedVideo(Protocol):
    """One video; all its frames are labelled."""

    name: str
    frame_names: Sequence[str]

    def frames(self) -> Iterator[Frame]:
        """All frames in order, of one size."""
        ...

    def parts(self, index: int) -> Ids:
        """(H, W) classes of a frame, 255 where unknown."""
        ...

    def instances(self, index: int) -> Instances | None:
        """Of a frame; None: the data set has none."""
        ...


class ParsedVideos(Protocol):
    """A set of them."""

    @property
    def names(self) -> Sequence[str]:
        """Of all videos."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Of the classes 0, 1, …; the first is the background."""
        ...

    def open(self, name: str) -> ParsedVideo:
        """The video of that name."""
        ...

"""What a tracking task reads: videos of which masks or keypoints are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.errors import UserError
from selfsup_motion.settings.nearest import nearest_name

Frame = NDArray[np.uint8]
"""(3, H, W) uint8 RGB."""


class LabelledVideo(Protocol):
    """One video. Frames are read one at a time, so that its length does not matter."""

    name: str
    frame_names: Sequence[str]
    """A name for each frame, for result files."""

    def frames(self) -> Iterator[Frame]:
        """All frames in order, of one size.

        Raises:
            UserError: a frame is missing, damaged or of another size.
        """
        ...

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """(H, W) object ids of a frame, 255 where void; None: not annotated."""
        ...

    def keypoints(self) -> NDArray[np.float64] | None:
        """(T, K, 2) x, y in pixels counted from 0, nan where unknown; None: not annotated."""
        ...


class LabelledVideos(Protocol):
    """A set of them."""

    names: Sequence[str]

    def open(self, name: str) -> LabelledVideo:
        """The video of that name."""
        ...


class Named(Protocol):
    """Anything that has its parts by name."""

    @property
    def names(self) -> Sequence[str]:
        """Of all parts."""
        ...


def chosen(source: Named, names: Sequence[str] | None) -> list[str]:
    """The videos to work on: those named, or all.

    Raises:
        UserError: there is no video of that name.
    """
    if names is None:
        return list(source.names)
    for name in names:
        if name not in source.names:
            guess = nearest_name(name, source.names)
            hint = f"did you mean {guess}?" if guess else f"there are {len(source.names)} others."
            raise UserError(f"task.sequences: there is no sequence {name}, {hint}")
    return list(names)

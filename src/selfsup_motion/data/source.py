"""What every source of clips offers: the contract between storage and methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video without decoding it."""

    key: str
    num_frames: int
    fps: float | None
    """Mean rate."""
    height: int
    width: int
    look_up_times: Callable[[], NDArray[np.float64] | None] | None = field(
        default=None, compare=False, repr=False
    )
    """Finds `times`, which may mean to open the video. None: its frames are evenly spaced."""

    @property
    def times(self) -> NDArray[np.float64] | None:
        """(N,) seconds from the first frame, ascending; None if frames are evenly spaced or
        nothing is known of their times. Raises `ClipReadError`."""
        return None if self.look_up_times is None else self.look_up_times()


@runtime_checkable
class Source(Protocol):
    """A numbered collection of videos.

    Implementations open files lazily and can be pickled, forked and used from threads.

    Further members are optional:

    - `no_flow: str | None`: why its clips have no flow and what to do about it, as a clause; None
      if they have. Lets a method that needs flow refuse before anything is read.
    - `still: bool`: whether its videos are single images. Lets a method that follows things from
      frame to frame refuse likewise.
    - `first_frame_only() -> Source`: the same clips for a view that looks at nothing but the first
      frame and its flow. Frames that only the flow leads to need not be decoded and may be
      missing.
    - `name(i) -> str`: what video i is called, found without touching any file.
    - `place(i) -> float | None`: where the source is one side of a division by names, the number in
      [0, 1) that decided on which side video i is; smaller ones are held out. None where validation
      has videos of its own. Lets the data module hold out others if those that were cannot be used.
    - `blocks: tuple[NDArray[np.int64], int] | None`: a block for each video, and how many blocks
      training mixes at a time (see `TrainOrder`); None mixes all.
    """

    def __len__(self) -> int:
        """Number of videos."""
        ...

    def info(self, index: int) -> VideoInfo:
        """Describe video `index`; raises `ClipReadError` if it cannot be opened."""
        ...

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames of video `index`, in this order.

        `flow[t]`, if the source has flow, leads from `frame_indices[t]` to `frame_indices[t + 1]`.
        Raises `ClipReadError` if a frame cannot be read.
        """
        ...


def video_name(source: Source, index: int) -> str:
    """What video `index` is called in messages; no file is touched."""
    name = getattr(source, "name", None)
    return f"video {index}" if name is None else str(name(index))


def divided_by_name(source: Source) -> bool:
    """Whether the source is one side of a division by names, see `Source.place`."""
    place = getattr(source, "place", None)
    return place is not None and len(source) > 0 and place(0) is not None

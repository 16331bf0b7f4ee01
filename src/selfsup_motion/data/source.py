"""What every source of clips offers: the contract between storage and methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError


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


class Source(ABC):
    """A numbered collection of videos.

    A source has `__len__`, `info` and `read`; it says more where the defaults below do not fit. It
    opens files lazily and can be pickled, forked and used from threads.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of videos."""

    @abstractmethod
    def info(self, index: int) -> VideoInfo:
        """Describe video `index`; raises `ClipReadError` if it cannot be opened."""

    @abstractmethod
    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames of video `index`, in this order.

        `flow[t]`, if the source has flow, leads from `frame_indices[t]` to `frame_indices[t + 1]`.
        Raises `ClipReadError` if a frame cannot be read.
        """

    @property
    def no_flow(self) -> str | None:
        """Why its clips have no flow and what to do about it, as a clause; None if they have.

        Lets a method that needs flow refuse before anything is read.
        """
        return None

    @property
    def still(self) -> bool:
        """Whether its videos are single images, which a method that follows things refuses."""
        return False

    @property
    def blocks(self) -> tuple[NDArray[np.int64], int] | None:
        """A block for each video, and how many blocks training mixes at a time (see `TrainOrder`);
        None mixes all."""
        return None

    def first_frame_only(self) -> Source:
        """The same clips for a view that only looks at the first frame and its flow.

        Frames that only the flow leads to need not be decoded and may be missing.
        """
        return self

    def name(self, index: int) -> str:
        """What video `index` is called in messages, found without touching any file."""
        return f"video {index}"

    def place(self, index: int) -> float | None:
        """Where the source is one side of a division by names: the number in [0, 1) that decided on
        which side video `index` is; smaller ones are held out.

        None where validation has videos of its own. Lets the data module hold out others if those
        that were cannot be used.
        """
        return None


def check_source(source: object, key: str) -> Source:
    """The source, if it is one.

    Args:
        source: what was given.
        key: for what, as in the config.

    Raises:
        UserError: it is of another class.
    """
    if not isinstance(source, Source):
        raise UserError(
            f"{key}: {type(source).__name__} is no source of clips; derive it from "
            "selfsup_motion.data.source.Source, and give it __len__, info and read."
        )
    return source


def divided_by_name(source: Source) -> bool:
    """Whether the source is one side of a division by names, see `Source.place`."""
    return len(source) > 0 and source.place(0) is not None

"""Which video each loading process is reading, and since when."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import get_worker_info

_IDLE = -1.0


@dataclass(frozen=True)
class Reading:
    """A video that is being read.

    Attributes:
        worker: number of the loading process.
        video: index in the source.
        since: `time.monotonic()` of its beginning.
    """

    worker: int
    video: int
    since: float


class ReadingBoard:
    """Memory that the loading processes write to and the training process looks at.

    A process that hangs in a system call can tell nobody; what it has written before is seen.
    """

    def __init__(self, num_workers: int) -> None:
        """Make room for so many processes (0: the training process reads)."""
        # video and time of each; shared with processes that are forked or spawned later
        self._slots = torch.full((max(num_workers, 1), 2), _IDLE, dtype=torch.float64)
        self._slots.share_memory_()  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def reading(self, video: int) -> Iterator[None]:
        """Note that this process reads a video inside the block."""
        info = get_worker_info()
        slot = self._slots[0 if info is None else info.id]
        slot[0], slot[1] = video, time.monotonic()
        try:
            yield
        finally:
            slot[1] = _IDLE

    def longer_than(self, seconds: float) -> list[Reading]:
        """The videos whose reading has taken longer so far."""
        now = time.monotonic()
        return [
            Reading(worker, int(video), since)
            for worker, (video, since) in enumerate(self._slots.tolist())
            if since != _IDLE and now - since > seconds
        ]

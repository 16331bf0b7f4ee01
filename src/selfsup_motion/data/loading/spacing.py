"""Clips of a video as functions of their first frame: evenly spaced frames, or time stamps."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.frame_times import nearest

Short = Literal["skip", "loop", "hold"]
"""What becomes of a video shorter than a clip: it is refused, begins again at its first frame, or
stays at its last one."""


class Spacing(Protocol):
    """The clips of a video that have one length and rate."""

    def room(self, clips: int, gap: int) -> int:
        """How many frames can be the first of so many clips, `gap` frames apart; 0 if none can."""
        ...

    def shortage(self, clips: int, gap: int) -> tuple[str, str]:
        """What the video has and what these clips need, as verbs with their objects."""
        ...

    def place(self, clips: int, gap: int, rng: np.random.Generator, short: Short) -> list[int]:
        """First frames of clips at least `gap` frames apart, all placements equally likely.

        Without room, one behind the other from the first frame on.
        """
        ...

    def spread(self, number: int, count: int, starts: int) -> int:
        """First frame of clip `number` of `count` that reach from the first to the last of `starts`
        possible ones; a single one is in the middle."""
        ...

    def behind(self) -> NDArray[np.int64]:
        """(starts,) number of the frame behind the clip that begins with frame 0, 1, …"""
        ...

    def frames(self, start: int, short: Short) -> list[int]:
        """Frame numbers of the clip that begins with this frame; behind the end looped or held."""
        ...


class EvenFrames:
    """Frames at fixed distances, for a stride and for constant rates.

    Args:
        num_frames: of the video.
        offsets: (length,) distances from the first frame of a clip.
    """

    def __init__(self, num_frames: int, offsets: NDArray[np.int64]) -> None:
        self._num_frames, self._offsets = num_frames, offsets
        self._span = int(offsets[-1]) + 1

    def room(self, clips: int, gap: int) -> int:
        return max(0, self._num_frames - self._needed(clips, gap) + 1)

    def shortage(self, clips: int, gap: int) -> tuple[str, str]:
        return f"has {self._num_frames} frames", f"needs {self._needed(clips, gap)}"

    def place(self, clips: int, gap: int, rng: np.random.Generator, short: Short) -> list[int]:
        slack = max(0, self.room(clips, gap) - 1)
        # the placements are the ways to choose `clips` of slack + clips
        places = np.sort(rng.choice(slack + clips, clips, replace=False, shuffle=False))
        number = np.arange(clips)
        starts: list[int] = (places - number + (self._span + gap) * number).tolist()
        return starts

    def spread(self, number: int, count: int, starts: int) -> int:
        """See `Spacing`; evenly in frames."""
        last = starts - 1
        return last // 2 if count == 1 else round(last * number / (count - 1))

    def behind(self) -> NDArray[np.int64]:
        return np.arange(self.room(1, 0)) + self._span

    def frames(self, start: int, short: Short) -> list[int]:
        positions = start + self._offsets
        if short == "loop":
            positions = positions % self._num_frames
        found: list[int] = np.minimum(positions, self._num_frames - 1).tolist()
        return found

    def _needed(self, clips: int, gap: int) -> int:
        """Frames from the first of all clips to the last."""
        return self._span + (clips - 1) * (self._span + gap)


class StampedFrames:
    """The frames nearest to every 1/fps seconds after the first one, for variable rates.

    Args:
        times: (N,) seconds, ascending, N at least 2.
        length: frames of a clip.
        fps: of a clip.
    """

    def __init__(self, times: NDArray[np.float64], length: int, fps: float) -> None:
        self._times = times - times[0]
        self._ahead = np.arange(length) / fps
        interval = float(self._times[-1]) / (len(times) - 1)
        self._duration = float(self._times[-1]) + interval
        # as for constant rates: the last frame counts as near up to half an interval behind it
        last = self._duration - interval / 2 - float(self._ahead[-1])
        self._starts = int(np.searchsorted(self._times, last, side="left"))
        ends = nearest(self._times, self._times + self._ahead[-1])
        self._behind = ends + 1
        """(N,) the frame behind the clip that begins with each frame."""

    def room(self, clips: int, gap: int) -> int:
        ways = self._ways(clips, gap)[-1]
        return int(np.count_nonzero(ways))

    def shortage(self, clips: int, gap: int) -> tuple[str, str]:
        seconds = clips * float(self._ahead[-1])
        if clips == 1:
            return f"lasts {self._duration:.3g} seconds", f"needs {seconds:.3g}"
        needs = f"needs {clips} times {float(self._ahead[-1]):.3g} with {gap} frames between"
        return f"lasts {self._duration:.3g} seconds", needs

    def place(self, clips: int, gap: int, rng: np.random.Generator, short: Short) -> list[int]:
        ways, starts, first = self._ways(clips, gap), [], 0
        for count in reversed(ways):
            share = np.cumsum(count[first:])
            if share[-1:].sum() > 0:
                first += int(np.searchsorted(share, rng.random() * share[-1], side="right"))
            starts.append(first)
            first = int(self._behind[first]) + gap
            first = (
                first % len(self._times) if short == "loop" else min(first, len(self._times) - 1)
            )
        return starts

    def spread(self, number: int, count: int, starts: int) -> int:
        """See `Spacing`; evenly in time."""
        share = 0.5 if count == 1 else number / (count - 1)
        times = self._times[:starts]
        return int(nearest(times, times[-1:] * share)[0])

    def behind(self) -> NDArray[np.int64]:
        return np.asarray(self._behind[: self._starts], np.int64)

    def frames(self, start: int, short: Short) -> list[int]:
        wanted = self._times[start] + self._ahead
        if short == "loop":
            around = np.append(self._times, self._duration)  # the first frame once more
            found = nearest(around, wanted % self._duration) % len(self._times)
        else:
            found = nearest(self._times, wanted)
        numbers: list[int] = found.tolist()
        return numbers

    def _ways(self, clips: int, gap: int) -> list[NDArray[np.float64]]:
        """For 1, 2, … clips: (N,) in how many ways they can follow if the first begins here."""
        ways = [(np.arange(len(self._times)) < self._starts).astype(np.float64)]
        for _ in range(clips - 1):
            rest = np.append(np.cumsum(ways[-1][::-1])[::-1], 0.0)  # if it begins here or later
            ways.append(ways[0] * rest[np.minimum(self._behind + gap, len(self._times))])
        return ways

"""Which frames of a video make a clip.

A clip sampler is a callable `(info, rng, clip_number) -> frame indices` with the attributes
`length` (how many frames it returns) and `clips_per_video` (how often one epoch visits a video).
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import ClipReadError, UserError

Short = Literal["skip", "loop", "hold"]
"""What becomes of a video shorter than a clip: it is refused, begins again at its first frame, or
stays at its last one."""


class ClipSampler(Protocol):
    """Chooses the frames of clip `clip_number` (0 ≤ clip_number < clips_per_video) of a video."""

    length: int
    clips_per_video: int

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        ...


class _SpacedClips:
    """Clips whose frames are `stride` frames, or 1/`fps` seconds, apart."""

    def __init__(
        self,
        length: int,
        stride: int = 1,
        fps: float | None = None,
        clips_per_video: int = 1,
        short: Short = "skip",
    ) -> None:
        """Describe the clips.

        Args:
            length: frames of a clip.
            stride: every how many frames of the video one is taken; leave it at 1 with `fps`.
            fps: frames per second of the clip, whatever the video's own rate: the nearest frames
                are taken, so a rate above the video's repeats frames.
            clips_per_video: how many clips of each video belong to an epoch.
            short: a video with too few frames for a clip is refused ("skip"; the data path takes
                another one and counts it), repeated from its beginning ("loop"), or its last frame
                is repeated ("hold").
        """
        for name, value in (
            ("length", length),
            ("stride", stride),
            ("clips_per_video", clips_per_video),
        ):
            if value < 1:
                raise UserError(f"{name} of the clip sampler must be at least 1, got {value}.")
        if fps is not None and (stride != 1 or not fps > 0):
            raise UserError(
                f"The clip sampler takes a positive fps or a stride, got fps={fps}, "
                f"stride={stride}."
            )
        if short not in ("skip", "loop", "hold"):
            raise UserError(f"short {short!r} is unknown: choose skip, loop or hold.")
        self.length = length
        self.stride = stride
        self.fps = fps
        self.clips_per_video = clips_per_video
        self.short = short

    def _offsets(self, info: VideoInfo) -> NDArray[np.int64]:
        """Positions of the clip's frames after its first one, in frames of the video."""
        step = float(self.stride)
        if self.fps is not None:
            if info.fps is None:
                raise ClipReadError(
                    f"{info.key} does not tell its frame rate: sample it by stride instead of fps.",
                    file=info.key,
                    reason="no frame rate",
                )
            step = info.fps / self.fps
        # halves always go up: `round` would send them to even numbers and space frames unevenly
        offsets: NDArray[np.int64] = np.floor(np.arange(self.length) * step + 0.5).astype(np.int64)
        return offsets

    def _starts(self, info: VideoInfo, needed: int) -> int:
        """How many first frames are possible for something `needed` frames long."""
        if info.num_frames >= needed:
            return info.num_frames - needed + 1
        if self.short != "skip" and info.num_frames > 0:
            return 1
        spacing = (
            f"{self.fps:g} frames per second (the video has {info.fps:g})"
            if self.fps is not None and info.fps is not None
            else f"stride {self.stride}"
        )
        raise ClipReadError(
            f"{info.key} has {info.num_frames} frames, a clip of {self.length} frames at {spacing} "
            f"needs {needed}: use a shorter clip or a smaller spacing, or short=loop or hold.",
            file=info.key,
            reason="too short",
        )

    def _frames(self, info: VideoInfo, positions: NDArray[np.int64]) -> list[int]:
        """Positions, those behind the end looped or held."""
        if self.short == "loop":
            return [int(position) % info.num_frames for position in positions]
        return [min(int(position), info.num_frames - 1) for position in positions]


class RandomClips(_SpacedClips):
    """Clips that start anywhere in the video, all starts equally likely (for training)."""

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        offsets = self._offsets(info)
        start = int(rng.integers(self._starts(info, int(offsets[-1]) + 1)))
        return self._frames(info, start + offsets)


class UniformClips(_SpacedClips):
    """Clips spread evenly over the video, the same at every call (for evaluation).

    A single clip is taken from the middle; several reach from the first to the last frame.
    """

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        offsets = self._offsets(info)
        last = self._starts(info, int(offsets[-1]) + 1) - 1
        if self.clips_per_video == 1:
            start = last // 2
        else:
            start = round(last * clip_number / (self.clips_per_video - 1))
        return self._frames(info, start + offsets)


class AllClips(_SpacedClips):
    """Clips that together show every frame of a video, for evaluation.

    One follows another without overlap, except that the last one is moved back to end on the
    video's last frame; with a stride or fps, the frames between are skipped as within a clip. A
    video has as many of them as it takes, so they are not addressed by number but listed.
    """

    def __call__(self, info: VideoInfo) -> list[list[int]]:
        """Return the clips, `length` frame indices each; raises `ClipReadError` if too short."""
        offsets = self._offsets(info)
        needed = int(offsets[-1]) + 1
        last = self._starts(info, needed) - 1
        starts = [*range(0, last, needed), last]
        return [self._frames(info, start + offsets) for start in starts]


class SeparateClips(_SpacedClips):
    """Several clips of one video at a time, in order and apart, placed at random (for training).

    For methods that compare distant moments. The frames of all clips come in one list, clip after
    clip; a source's flow from the last frame of one clip to the first of the next means nothing.
    """

    def __init__(
        self,
        length: int,
        clips: int = 2,
        min_gap: int = 0,
        stride: int = 1,
        fps: float | None = None,
        clips_per_video: int = 1,
        short: Short = "skip",
    ) -> None:
        """Describe the clips.

        Args:
            length: frames of each clip; the sampler's attribute `length` is that of all together.
            clips: how many.
            min_gap: at least so many frames of the video lie between one clip and the next.
            stride: as for `RandomClips`.
            fps: as for `RandomClips`.
            clips_per_video: how many times `clips` clips of each video belong to an epoch.
            short: as for `RandomClips`, for videos in which the clips and gaps have no room.
        """
        super().__init__(length, stride, fps, clips_per_video, short)
        if clips < 1 or min_gap < 0:
            raise UserError(
                f"The clip sampler takes at least 1 clip and a min_gap of at least 0, got {clips} "
                f"and {min_gap}."
            )
        self.clip_length = length
        self.length = length * clips
        self.clips = clips
        self.min_gap = min_gap

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        offsets = self._offsets(info)[: self.clip_length]
        span = int(offsets[-1]) + 1
        distance = span + self.min_gap
        slack = self._starts(info, span + (self.clips - 1) * distance) - 1
        # all placements are equally likely: they are the ways to choose `clips` of slack + clips
        places = np.sort(rng.choice(slack + self.clips, self.clips, replace=False, shuffle=False))
        starts = places - np.arange(self.clips) + distance * np.arange(self.clips)
        return self._frames(info, (starts[:, None] + offsets).ravel())

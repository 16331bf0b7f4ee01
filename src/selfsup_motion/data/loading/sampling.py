"""Which frames of a video make a clip.

A clip sampler is a callable `(info, rng, clip_number) -> frame indices` with the attributes
`length` (how many frames it returns) and `clips_per_video` (how often one epoch visits a video).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.loading.spacing import EvenFrames, Short, Spacing, StampedFrames
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import ClipReadError, UserError


class ClipSampler(Protocol):
    """Chooses the frames of clip `clip_number` (0 ≤ clip_number < clips_per_video) of a video."""

    length: int
    clips_per_video: int

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        ...


class SpacedClips:
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
            fps: frames per second of the clip, whatever the video's own rate, which may vary: the
                frames nearest to every 1/fps seconds are taken, so a rate above the video's repeats
                frames.
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
        self.length = self.clip_length = length
        self.stride = stride
        self.fps = fps
        self.clips_per_video = clips_per_video
        self.short = short

    def _spacing(self, info: VideoInfo, length: int, stride: int | None = None) -> Spacing:
        """The clips of this length that a video has; `stride` instead of the sampler's own.

        Raises:
            ClipReadError: it does not tell its frame rate.
        """
        step = float(self.stride if stride is None else stride)
        if self.fps is not None:
            if info.fps is None:
                raise ClipReadError(
                    f"{info.key} has no frame rate: sample it by stride instead of fps.",
                    file=info.key,
                    reason="no frame rate",
                )
            if (times := info.times) is not None:
                return StampedFrames(times, length, self.fps)
            step = info.fps / self.fps
        # halves always go up: `round` would send them to even numbers and space frames unevenly
        offsets: NDArray[np.int64] = np.floor(np.arange(length) * step + 0.5).astype(np.int64)
        return EvenFrames(info.num_frames, offsets)

    def _starts(self, info: VideoInfo, spacing: Spacing, clips: int = 1, gap: int = 0) -> int:
        """How many first frames are possible.

        Args:
            info: of the video.
            spacing: of its clips.
            clips: that must find room behind one another.
            gap: frames between them.

        Raises:
            ClipReadError: none, and such videos are to be refused.
        """
        if room := spacing.room(clips, gap):
            return room
        if self.short != "skip" and info.num_frames > 0:
            return 1
        rate = f"stride {self.stride}" if self.fps is None else f"{self.fps:g} frames per second"
        if self.fps is not None and isinstance(spacing, EvenFrames):
            rate += f" (the video has {info.fps:g})"
        has, needs = spacing.shortage(clips, gap)
        raise ClipReadError(
            f"{info.key} {has}, a clip of {self.clip_length} frames at {rate} {needs}: use a "
            "shorter clip or a smaller spacing, or short=loop or hold.",
            file=info.key,
            reason="too short",
        )


class RandomClips(SpacedClips):
    """Clips that start anywhere in the video, all starts equally likely (for training)."""

    def __init__(
        self,
        length: int,
        stride: int = 1,
        fps: float | None = None,
        clips_per_video: int = 1,
        short: Short = "skip",
        strides: Sequence[int] | None = None,
    ) -> None:
        """Describe the clips.

        Args:
            length: frames of a clip.
            stride: every how many frames of the video one is taken; leave it at 1 with `fps`.
            fps: see `UniformClips`.
            clips_per_video: how many clips of each video belong to an epoch.
            short: see `UniformClips`.
            strides: one of these is drawn for each clip, among those that the video is long enough
                for; null: always `stride`.

        Raises:
            UserError: a value out of range.
        """
        super().__init__(length, stride, fps, clips_per_video, short)
        if strides is not None and (fps is not None or not strides or min(strides) < 1):
            raise UserError(
                f"strides={list(strides)} of the clip sampler: expected a list of whole numbers "
                "from 1, and no fps."
            )
        self.strides = None if strides is None else sorted(strides)

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        stride = None
        if self.strides is not None:
            spacings = [self._spacing(info, self.length, stride) for stride in self.strides]
            fitting = sum(spacing.room(1, 0) > 0 for spacing in spacings)
            stride = self.strides[int(rng.integers(max(1, fitting)))]
        spacing = self._spacing(info, self.length, stride)
        start = int(rng.integers(self._starts(info, spacing)))
        return spacing.frames(start, self.short)


class UniformClips(SpacedClips):
    """Clips spread evenly over the video, the same at every call (for evaluation).

    A single clip is taken from the middle; several reach from the first to the last frame.
    """

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        spacing = self._spacing(info, self.length)
        starts = self._starts(info, spacing)
        start = spacing.spread(clip_number, self.clips_per_video, starts)
        return spacing.frames(start, self.short)


class AllClips(SpacedClips):
    """Clips that together show every frame of a video, for evaluation.

    One follows another without overlap, except that the last one is moved back to end on the
    video's last frame; with a stride or fps, the frames between are skipped as within a clip. A
    video has as many of them as it takes, so they are not addressed by number but listed.
    """

    def __call__(self, info: VideoInfo) -> list[list[int]]:
        """Return the clips, `length` frame indices each; raises `ClipReadError` if too short."""
        spacing = self._spacing(info, self.length)
        last = self._starts(info, spacing) - 1
        clips: list[list[int]] = []
        start = 0
        while start < last:
            clips.append(spacing.frames(start, self.short))
            start = clips[-1][-1] + 1
        return [*clips, spacing.frames(last, self.short)]


class SeparateClips(SpacedClips):
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
        self.length = length * clips
        self.clips = clips
        self.min_gap = min_gap

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        spacing = self._spacing(info, self.clip_length)
        self._starts(info, spacing, self.clips, self.min_gap)
        starts = spacing.place(self.clips, self.min_gap, rng, self.short)
        return [number for start in starts for number in spacing.frames(start, self.short)]

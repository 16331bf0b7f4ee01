"""Which frames of a video make a clip.

A clip sampler is a callable `(info, rng, clip_number) -> frame indices` with the attributes
`length` (frames of a clip) and `clips_per_video` (how often one epoch visits a video).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import ClipReadError, UserError


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
    ) -> None:
        """Describe the clips.

        Args:
            length: frames of a clip.
            stride: every how many frames of the video one is taken; leave it at 1 with `fps`.
            fps: frames per second of the clip, whatever the video's own rate: the nearest frames
                are taken, so a rate above the video's repeats frames.
            clips_per_video: how many clips of each video belong to an epoch.
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
        self.length = length
        self.stride = stride
        self.fps = fps
        self.clips_per_video = clips_per_video

    def _offsets(self, info: VideoInfo) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Positions of the clip's frames after its first one, in frames of the video."""
        step = float(self.stride)
        if self.fps is not None:
            if info.fps is None:
                raise ClipReadError(
                    f"{info.key} does not tell its frame rate: sample it by stride instead of fps."
                )
            step = info.fps / self.fps
        return np.arange(self.length, dtype=np.float64) * step

    def _starts(
        self, info: VideoInfo, offsets: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> int:
        """How many first frames are possible."""
        needed = int(_nearest(offsets[-1:])[0]) + 1
        if info.num_frames < needed:
            spacing = (
                f"{self.fps:g} frames per second (the video has {info.fps:g})"
                if self.fps is not None and info.fps is not None
                else f"stride {self.stride}"
            )
            raise ClipReadError(
                f"{info.key} has {info.num_frames} frames, a clip of {self.length} frames at "
                f"{spacing} needs {needed}: use a shorter clip or a smaller spacing."
            )
        return info.num_frames - needed + 1


class RandomClips(_SpacedClips):
    """Clips that start anywhere in the video, all starts equally likely (for training)."""

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        offsets = self._offsets(info)
        start = int(rng.integers(self._starts(info, offsets)))
        return [start + int(i) for i in _nearest(offsets)]


class UniformClips(_SpacedClips):
    """Clips spread evenly over the video, the same at every call (for evaluation).

    A single clip is taken from the middle; several reach from the first to the last frame.
    """

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        offsets = self._offsets(info)
        last = self._starts(info, offsets) - 1
        if self.clips_per_video == 1:
            start = last // 2
        else:
            start = round(last * clip_number / (self.clips_per_video - 1))
        return [start + int(i) for i in _nearest(offsets)]


def _nearest(
    positions: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    # halves always go up: `round` would send them to even numbers and space the frames unevenly
    return np.floor(positions + 0.5)

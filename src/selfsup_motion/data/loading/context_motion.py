"""Which frames of a video CMD sees: a clip, a key frame beside it, and motion after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import ClipReadError, UserError


@dataclass(frozen=True)
class CompressedInfo(VideoInfo):
    """What is known of a video with motion vectors."""

    look_up_key_frames: Callable[[], NDArray[np.int64]] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def key_frames(self) -> NDArray[np.int64]:
        """(K,) numbers of the frames that are coded by themselves, ascending, at least one; raises
        `ClipReadError`."""
        return (
            np.zeros(1, np.int64)
            if self.look_up_key_frames is None
            else (self.look_up_key_frames())
        )


class ContextMotionClips:
    """Clips with what CMD compares them with (section 3).

    In one list: the frames of the clip; a key frame within `reach` frames of it (the nearest one of
    the video if there is none); `motion_length` frames in a row, whose motion is to be predicted,
    the first of them `motion_gap` frames after the clip; and `negatives` times as many in a row
    from elsewhere in the video, without a frame of the motion to be predicted.
    """

    def __init__(
        self,
        length: int,
        stride: int = 1,
        motion_length: int = 8,
        motion_gap: int = 3,
        negatives: int = 3,
        reach: int = 5,
        clips_per_video: int = 1,
        train: bool = True,
    ) -> None:
        """Describe the clips.

        Args:
            length: frames of a clip; the sampler's attribute `length` is that of everything.
            stride: every how many frames of the video one is taken.
            motion_length: frames in a row whose motion is looked at.
            motion_gap: from the clip's last frame to the first of them, at least 1.
            negatives: motions from elsewhere in the video.
            reach: frames before and behind a clip in which key frames are looked for.
            clips_per_video: how many clips of each video belong to an epoch.
            train: clips begin anywhere; else they are spread evenly over the video.

        Raises:
            UserError: a value out of range.
        """
        for name, value, least in (
            ("length", length, 1),
            ("stride", stride, 1),
            ("motion_length", motion_length, 1),
            ("motion_gap", motion_gap, 1),
            ("negatives", negatives, 0),
            ("reach", reach, 0),
            ("clips_per_video", clips_per_video, 1),
        ):
            if value < least:
                raise UserError(
                    f"{name} of the clip sampler must be at least {least}, got {value}."
                )
        self.clip_length, self.stride = length, stride
        self.motion_length, self.motion_gap = motion_length, motion_gap
        self.negatives, self.reach = negatives, reach
        self.clips_per_video, self.train = clips_per_video, train
        self.length = length + 1 + motion_length * (1 + negatives)

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices.

        Raises:
            UserError: the source does not tell key frames.
            ClipReadError: the video is too short.
        """
        if not isinstance(info, CompressedInfo):
            raise UserError(
                "CMD needs videos with motion vectors: use data=toy_compressed or "
                "data=compressed_videos."
            )
        span = (self.clip_length - 1) * self.stride + 1
        needed = span - 1 + self.motion_gap + self.motion_length
        room = info.num_frames - needed + 1
        # a negative must find room before or behind, wherever the clip begins
        if room < 1 or (self.negatives and span - 1 + self.motion_gap < self.motion_length):
            raise ClipReadError(
                f"{info.key} has {info.num_frames} frames, a clip of {self.clip_length} frames at "
                f"stride {self.stride} with the motion after it needs "
                f"{max(needed, 2 * self.motion_length)}: use a shorter clip or a smaller stride.",
                file=info.key,
                reason="too short",
            )
        if self.train:
            start = int(rng.integers(room))
        else:
            count = self.clips_per_video
            start = (room - 1) // 2 if count == 1 else round((room - 1) * clip_number / (count - 1))
        last = start + span - 1
        motion = last + self.motion_gap
        begins = np.arange(info.num_frames - self.motion_length + 1)
        elsewhere = begins[np.abs(begins - motion) >= self.motion_length]
        others = rng.choice(elsewhere, self.negatives)
        windows = [begin + i for begin in (motion, *others) for i in range(self.motion_length)]
        return [
            *range(start, last + 1, self.stride),
            self._key_frame(info.key_frames, start, last, rng),
            *(int(frame) for frame in windows),
        ]

    def _key_frame(
        self, keys: NDArray[np.int64], start: int, last: int, rng: np.random.Generator
    ) -> int:
        near = keys[(keys >= start - self.reach) & (keys <= last + self.reach)]
        if len(near):
            return int(rng.choice(near))
        away = np.maximum(start - keys, keys - last)
        return int(keys[away.argmin()])

"""What a network that learns to name actions sees: random clips, and the test views of videos."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.ops.clip_views import frames_at, sparse_frames
from selfsup_motion.ops.color_jitter import draw_color_jitter
from selfsup_motion.tasks.actions.videos import ClipViews


class RandomActionClips:
    """Training clips that begin anywhere, with the spacing of the test clips (see `clip_frames`).

    Args:
        length: frames of a clip.
        stride: every how many frames of a video of 30 frames per second one is taken; None: one
            from anywhere in each of `length` equal parts of the video, see `sparse_frames`.
        clips_per_video: how often a pass visits a video.
    """

    def __init__(self, *, length: int, stride: int | None, clips_per_video: int) -> None:
        for name, value in (
            ("length", length),
            ("stride", stride),
            ("clips_per_video", clips_per_video),
        ):
            if value is not None and value < 1:
                raise UserError(f"sampler.{name}={value}: expected at least 1.")
        self.length, self.stride, self.clips_per_video = length, stride, clips_per_video

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame numbers; a video that is too short stays at its last frame."""
        if self.stride is None:
            spread = sparse_frames(info.num_frames, rng.random((1, self.length)), times=info.times)
            return [int(number) for number in spread[0]]
        share = np.array([rng.random()])
        frames = frames_at(
            share,
            info.num_frames,
            info.fps,
            length=self.length,
            stride=self.stride,
            times=info.times,
        )
        return [int(number) for number in frames[0]]


class SpreadClips:
    """All test clips of a video, one after the other, as a single sample.

    Args:
        views: which ones.
    """

    clips_per_video = 1

    def __init__(self, views: ClipViews) -> None:
        self.views = views
        self.length = views.clips * views.length

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return clips · length frame numbers, the same at every call."""
        numbers = self.views.frames(info.num_frames, info.fps, info.times)
        return [int(number) for number in numbers.ravel()]


class ActionView(View):
    """Clip → a training sample: one random window of all frames, perhaps mirrored.

    Output: `clip` uint8 (T, 3, size, size); `action` int64 (); with any change of colour `color`
    float32 (1, 4), factors of `color_jitter`, one for the whole clip.
    """

    def __init__(
        self,
        *,
        size: int,
        short_side: tuple[int, int],
        flip: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        grey: float,
    ) -> None:
        """Define the view.

        Args:
            size: side of the window, pixels.
            short_side: range of the short side that frames are resized to, pixels.
            flip: probability that a clip is mirrored left-right; 0 where actions have a side.
            brightness: see `draw_color_jitter`.
            contrast: see `draw_color_jitter`.
            saturation: see `draw_color_jitter`.
            hue: see `draw_color_jitter`.
            grey: probability that a clip loses its colours.

        Raises:
            UserError: a value out of range.
        """
        low, high = short_side
        if not size <= low <= high:
            raise UserError(
                f"view.short_side=[{low}, {high}]: expected two lengths of at least "
                f"view.size={size} pixels, the smaller first."
            )
        for name, value in (("flip", flip), ("grey", grey)):
            if not 0 <= value <= 1:
                raise UserError(f"view.{name}={value}: expected a probability from 0 to 1.")
        self.size, self.short_side, self.flip, self.grey = size, (low, high), flip, grey
        self.jitter = {
            "brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue
        }  # fmt: skip
        # factors out of range are refused by what draws them
        draw_color_jitter(np.random.default_rng(0), 1, **self.jitter)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; all its randomness comes from `rng`."""
        low, high = self.short_side
        height, width = clip.frames.shape[2:]
        size = geometry.short_side_size((height, width), int(rng.integers(low, high + 1)))
        top, left = (int(rng.integers(side - self.size + 1)) for side in size)
        window = np.stack(
            [
                geometry.resize_image(frame, size)[top : top + self.size, left : left + self.size]
                for frame in _channels_last(clip.frames)
            ]
        )
        if rng.random() < self.flip:
            window = window[:, :, ::-1]
        frames = np.ascontiguousarray(window.transpose(0, 3, 1, 2))
        sample = {"clip": torch.from_numpy(frames), "action": _action(clip)}
        if self.grey or any(self.jitter.values()):
            factors = draw_color_jitter(rng, 1, **self.jitter)
            if rng.random() < self.grey:
                factors[:, 2] = 0
            sample["color"] = factors
        return sample


class ActionTestView(View):
    """All test clips of a video → a validation sample.

    Output: `clip` uint8 (clips · crops, T, 3, size, size); `action` int64 ().

    Args:
        views: which ones, the same as of `SpreadClips`.
    """

    def __init__(self, views: ClipViews) -> None:
        self.views = views

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        frames = self.views.resized(clip.frames)
        clips = frames.reshape(self.views.clips, self.views.length, *frames.shape[1:])
        return {"clip": torch.from_numpy(self.views.windows(clips)), "action": _action(clip)}


def _channels_last(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, 3, H, W) → (T, H, W, 3), contiguous as OpenCV wants it."""
    return np.ascontiguousarray(frames.transpose(0, 2, 3, 1))


def _action(clip: Clip) -> Tensor:
    """Raises `UserError` if the clip has none."""
    if "action" not in clip.labels:
        raise UserError(f"{clip.key} has no label `action`: choose a data set of actions.")
    return torch.from_numpy(np.array(clip.labels["action"], np.int64))

"""Exact frames out of a video file, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from selfsup_motion.data.reading.timed_video import MAX_PIXELS, TimedVideo, reason_of


class VideoFile(TimedVideo):
    """One open video and its pictures; not to be shared by threads or processes."""

    def read(self, indices: Sequence[int], short_side: int | None) -> NDArray[np.uint8]:
        """Decode frames.

        Args:
            indices: 0 ≤ index < N, in any order.
            short_side: resize so that the shorter side is this long; None keeps the size.

        Returns:
            (T, H, W, 3) uint8 RGB, rotated as it is to be displayed.

        Raises:
            ClipReadError: a frame cannot be decoded.
        """
        found = self._collect(indices, lambda frame: self._convert(frame, short_side))
        if len({image.shape for image in found.values()}) > 1:
            raise self._refusal(
                f"{self.name} has frames of different sizes; set short_side and crop."
            )
        return np.stack([found[index] for index in indices])

    def stream(self, short_side: int | None = None, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Decode all frames in order, one at a time, without a time limit.

        Args:
            short_side: resize so that the shorter side is this long; None keeps the size.
            start: number of the first frame.

        Yields:
            (H, W, 3) uint8 RGB, rotated as it is to be displayed.

        Raises:
            ClipReadError: the video is damaged.
        """
        self._restart()
        try:
            for frame in self._decoded(start):
                yield self._convert(frame, short_side)
        except (av.FFmpegError, ValueError) as error:
            raise self._refusal(f"{self.name} is damaged: {reason_of(error)}.") from error

    @cached_property
    def _reformatter(self) -> VideoReformatter:
        return VideoReformatter()

    def _convert(self, frame: VideoFrame, short_side: int | None) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, resized and upright."""
        height, width = frame.height, frame.width
        scale = 1.0 if short_side is None else short_side / min(height, width)
        if width * scale * height * scale > MAX_PIXELS:
            raise self._refusal(
                f"{self.name} has frames of {width}×{height} pixels; resized to a short side of "
                f"{short_side} they would have more than {MAX_PIXELS}: lower short_side.",
                "too large",
            )
        if scale == 1:
            interpolation = None  # of the chroma planes, as everywhere in FFmpeg
        else:
            interpolation = Interpolation.AREA if scale < 1 else Interpolation.BICUBIC
        # resizing along with the conversion costs a third of cv2.INTER_AREA behind it
        converted = self._reformatter.reformat(
            frame,
            width=max(1, round(width * scale)),
            height=max(1, round(height * scale)),
            format="rgb24",
            interpolation=interpolation,
            threads=1,
        )
        rgb: NDArray[np.uint8] = converted.to_ndarray().astype(np.uint8, copy=False)
        quarters = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else rgb

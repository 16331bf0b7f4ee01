"""Frames → MP4, GIF and WebP files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.errors import UserError
from selfsup_motion.text.names import ffmpeg_name

Format = Literal["mp4", "gif", "webp"]
Frame = NDArray[np.uint8]

_QUALITY = 18  # x264's constant rate factor: no visible loss
_WEBP_QUALITY = 90
_WEBP_MAX_SIDE = 16383
_MP4_MAX_SIDE = 16384
_MP4_MIN_SIDE = 16


class Film(Protocol):
    """Takes frames one by one."""

    def add(self, frame: Frame) -> None:
        """Append (H, W, 3) RGB uint8, of the size of the first."""
        ...


@contextlib.contextmanager
def film(path: Path, fps: float) -> Iterator[Film]:
    """A film that is complete when the context ends; the suffix chooses the format.

    GIF and WebP loop for ever and keep all frames in memory until then.

    Args:
        path: of the file.
        fps: frames per second.

    Raises:
        UserError: the format cannot hold frames of this size or rate.
    """
    if path.suffix == ".mp4":
        with av.open(ffmpeg_name(path), "w") as container:
            made = _Mp4(container, fps)
            yield made
            made.close()
    else:
        kept = _BufferedFilm(path, fps)
        yield kept
        kept.save()


class _Mp4:
    """H.264, which needs even sides: an odd one is doubled at the edge."""

    def __init__(self, container: Any, fps: float) -> None:
        self._container = container
        self._stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(_QUALITY), "movflags": "+faststart"}
        self._started = False

    def add(self, frame: Frame) -> None:
        height, width = frame.shape[:2]
        grow = [max(_MP4_MIN_SIDE - side, side % 2) for side in (height, width)]
        frame = np.pad(frame, ((0, grow[0]), (0, grow[1]), (0, 0)), mode="edge")
        if not self._started:
            if max(frame.shape) > _MP4_MAX_SIDE:
                raise UserError(
                    f"formats: an MP4 may have at most {_MP4_MAX_SIDE} pixels per side, not "
                    f"{width}x{height}; set max_side."
                )
            self._stream.height, self._stream.width = frame.shape[:2]
            self._started = True
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds."""
        if self._started:
            self._container.mux(self._stream.encode(None))


class _BufferedFilm:
    """GIF or WebP."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._frames = path, list[Image.Image]()
        self._milliseconds = 1000 / fps

    def add(self, frame: Frame) -> None:
        if self._path.suffix == ".webp" and max(frame.shape) > _WEBP_MAX_SIDE:
            raise UserError(
                f"formats: a WebP may have at most {_WEBP_MAX_SIDE} pixels per side; set max_side."
            )
        picture = Image.fromarray(frame)
        self._frames.append(picture.quantize() if self._path.suffix == ".gif" else picture)

    def save(self) -> None:
        """Write the file. Durations are whole milliseconds (GIF: hundredths), right on average."""
        unit = 10 if self._path.suffix == ".gif" else 1
        marks = [round(i * self._milliseconds / unit) * unit for i in range(len(self._frames) + 1)]
        durations = [max(unit, b - a) for a, b in pairwise(marks)]
        options = {"quality": _WEBP_QUALITY} if unit == 1 else {"optimize": False}
        first, *rest = self._frames
        first.save(
            self._path, save_all=True, append_images=rest, duration=durations, loop=0, **options
        )

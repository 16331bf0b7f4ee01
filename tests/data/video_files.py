"""Small videos whose frames can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 96, 64


def grey_of(index: int) -> int:
    """The grey level of a frame; neighbours differ by more than any codec's error."""
    return 20 + (index * 37) % 200


def picture(index: int) -> NDArray[np.uint8]:
    """Two halves: the left one tells the frame, the right one makes compression work."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = grey_of(index)
    x, y = np.meshgrid(np.arange(WIDTH // 2), np.arange(HEIGHT))
    image[:, WIDTH // 2 :] = (((x + 3 * index) % 32) * 6 + y)[..., None]
    return image


def write_video(
    path: Path,
    num_frames: int = 30,
    *,
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    rotation: int = 0,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Write frames 0, 1, … at `times` (in units of `time_base`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=round(1 / time_base) if times is None else 25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        stream.options = {"threads": "1", **(options or {})}
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = index if times is None else times[index]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frame_numbers(frames: NDArray[np.uint8], num_frames: int = 30) -> list[int]:
    """Which frames these (T, 3, H, W) are."""
    levels = np.array([grey_of(index) for index in range(num_frames)])
    half = frames[..., 8:-8, 8 : frames.shape[-1] // 2 - 8].mean(axis=(1, 2, 3))
    return [int(np.abs(levels - level).argmin()) for level in half]


def truncate(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damage(path: Path, begin: float, end: float) -> Path:
    """Overwrite a part of the file with noise."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = np.random.default_rng(0).bytes(last - first)
    path.write_bytes(bytes(data))
    return path

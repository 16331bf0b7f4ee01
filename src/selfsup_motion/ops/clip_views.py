"""Which frames and which windows of a video a network of clips is tested on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NOMINAL_FPS = 30.0
_ROUNDING = 1e-6
"""Seconds."""


def clip_frames(
    num_frames: int,
    fps: float | None,
    *,
    length: int,
    stride: int,
    clips: int,
    times: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Frames of clips spread over a video, as in MoSI's published tests.

    A clip spans length · stride frames of a video of 30 frames per second, and the same time of
    another one. Clip i of n begins at i/n of what is free, a single one in its middle. Videos that
    are too short stay at their last frame.

    Args:
        num_frames: of the video, at least 1.
        fps: of the video; None: 30.
        length: frames of a clip.
        stride: every how many frames of a video of 30 frames per second one is taken.
        clips: how many.
        times: (num_frames,) seconds of frames that are not evenly spaced, from 0 on, ascending:
            a clip has the frames that are shown at its moments. None: they are evenly spaced.

    Returns:
        (clips, length) frame numbers.
    """
    shares = np.array([0.5]) if clips == 1 else np.arange(clips) / clips
    return frames_at(shares, num_frames, fps, length=length, stride=stride, times=times)


def frames_at(
    shares: NDArray[np.float64],
    num_frames: int,
    fps: float | None,
    *,
    length: int,
    stride: int,
    times: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Frames of clips that begin at these shares of what is free; the rest as in `clip_frames`.

    Args:
        shares: (clips,) in [0, 1].
        num_frames: as there.
        fps: as there.
        length: as there.
        stride: as there.
        times: as there.

    Returns:
        (clips, length) frame numbers.
    """
    import torch  # videos are listed without it

    span = length * stride * (fps or _NOMINAL_FPS) / _NOMINAL_FPS
    starts = max(num_frames - span, 0.0) * shares
    if times is not None and len(times) > 1:
        # in the frames of a video that shows as many of them in the same time, evenly spaced
        interval = (times[-1] - times[0]) / (len(times) - 1)
        moments = np.linspace(starts, starts + span - 1, length, axis=1) * interval
        shown = np.searchsorted(times - times[0], moments + _ROUNDING, side="right") - 1
        return np.asarray(shown.clip(0, num_frames - 1), np.int64)
    # float32, as published: at other precisions whole numbers are missed now and then
    frames = [torch.linspace(s, s + span - 1, length).long() for s in starts.tolist()]
    return np.asarray(torch.stack(frames).clamp(0, num_frames - 1).numpy(), np.int64)


def sparse_frames(
    num_frames: int,
    shares: NDArray[np.float64],
    *,
    times: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """One frame from each of `length` equal parts of a video, as for Something-Something.

    Args:
        num_frames: of the video, at least 1.
        shares: (clips, length) where in its part each frame is, in [0, 1); 0.5 takes the middle
            ones, as SlowFast's tests do.
        times: (num_frames,) seconds of frames that are not evenly spaced, ascending: the parts take
            equally long. None: they are evenly spaced.

    Returns:
        (clips, length) frame numbers.
    """
    length = shares.shape[1]
    borders = np.rint((num_frames - 1) / length * np.arange(length + 1))
    frames = np.floor(borders[:-1] + shares * np.diff(borders))
    if times is not None and num_frames > 1:
        moments = frames / (num_frames - 1) * (times[-1] - times[0]) + times[0]
        frames = np.searchsorted(times, moments + _ROUNDING, side="right") - 1
    return np.asarray(frames.clip(0, num_frames - 1), np.int64)


def crop_corners(height: int, width: int, size: int, crops: int) -> list[tuple[int, int]]:
    """Upper left corners (top, left) of square windows: one in the middle, or three along the
    longer side (the height if both are equal).

    Raises:
        ValueError: neither 1 nor 3 windows, or they do not fit.
    """
    if crops not in (1, 3):
        raise ValueError(f"crops={crops}: expected 1 or 3")
    if size > min(height, width):
        raise ValueError(f"a window of {size} pixels does not fit into {height}x{width}")
    top, left = (height - size) // 2, (width - size) // 2
    if crops == 1:
        return [(top, left)]
    if height >= width:
        return [(0, left), (top, left), (height - size, left)]
    return [(top, 0), (top, left), (top, width - size)]

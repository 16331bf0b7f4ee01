"""When the frames of a video are shown, where they are not evenly spaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-6
"""Seconds."""
_COARSE = 1 / 3
"""Of the time between two frames: time stamps in larger units do not tell rounding from gaps."""


def are_even(times: NDArray[np.float64], unit: float) -> bool:
    """Whether frames are evenly spaced, as far as their time stamps can tell.

    Args:
        times: (N,) seconds, ascending.
        unit: of the time stamps, seconds: even ones may be rounded to it.
    """
    count = len(times)
    if count < 3:
        return True
    step = float(times[-1] - times[0]) / (count - 1)
    off = float(np.abs(times - (times[0] + step * np.arange(count))).max())
    return off < _ROUNDING or (off <= unit * (1 + 1e-3) and unit <= _COARSE * step)


def nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the frames nearest to some times; of two, the earlier.

    Args:
        times: (N,) seconds, ascending, N at least 1.
        wanted: (M,) seconds.

    Returns:
        (M,) from 0 to N - 1.
    """
    if len(times) == 1:
        return np.zeros(len(wanted), np.int64)
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    earlier = wanted - times[after - 1] <= times[after] - wanted + _ROUNDING
    return np.where(earlier, after - 1, after).astype(np.int64)

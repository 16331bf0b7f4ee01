"""Guidance as a person gives it: a few arrows on what moves, pins on what does not.

The published sampler puts guidance on a grid and on every moving part, dozens of points. A network
that has only seen that does not answer to a lone arrow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOVES = 1.0
"""Pixels: what moves at least so far may get an arrow."""
_RESTS = 0.25
"""Pixels: what moves at most so far may get a pin."""
_LEAST_AREA = 16
"""Moving pixels below which there is nothing to point at."""
_MAX_ARROWS = 8
_MAX_PINS = 32
_WITHOUT_PINS = 0.25
"""Share of the samples that have no pin."""


def draw_arrows_and_pins(
    flow: NDArray[np.float32],
    valid: NDArray[np.bool_],
    max_points: int,
    rng: np.random.Generator,
) -> NDArray[np.int64] | None:
    """Pick pixels for one to eight arrows and for up to 32 pins, few more often than many.

    Args:
        flow: (2, H, W) in pixels, of a still camera.
        valid: (H, W), where it is known.
        max_points: at most so many in all.
        rng: all randomness.

    Returns:
        (K, 2) x, y; None if next to nothing moves.
    """
    speed = np.hypot(*flow)
    moves, rests = valid & (speed >= _MOVES), valid & (speed <= _RESTS)
    moving, resting = np.flatnonzero(moves), np.flatnonzero(rests)
    if len(moving) < _LEAST_AREA:
        return None
    arrows = min(_few(_MAX_ARROWS, rng), max_points)
    chosen = [rng.choice(moving, arrows)]
    pins = 0 if rng.random() < _WITHOUT_PINS else min(_few(_MAX_PINS, rng), max_points - arrows)
    if pins and len(resting):
        chosen.append(rng.choice(resting, pins))
    y, x = np.divmod(np.unique(np.concatenate(chosen)), flow.shape[2])
    return np.stack([x, y], axis=1)


def _few(most: int, rng: np.random.Generator) -> int:
    """From 1 to `most`, evenly on a logarithmic scale."""
    return int((most + 1) ** rng.random())

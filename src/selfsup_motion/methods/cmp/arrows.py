"""Guidance as a person gives it: a few arrows on what moves, pins on what does not.

The published sampler puts guidance on a grid and on every moving part, dozens of points. A network
that has only seen that does not answer to a lone arrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
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
_MAX_PINS_BESIDE = 24
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


def draw_arrows_on_things(
    things: NDArray[np.uint8],
    moving: Sequence[int],
    valid: NDArray[np.bool_],
    max_points: int,
    rng: np.random.Generator,
) -> NDArray[np.int64] | None:
    """Pick pixels for one to four arrows on each thing that moves, and for up to 24 pins elsewhere.

    The first arrow on a thing lies in its middle as often as anywhere. Half of the pins lie at the
    rim of the image.

    Args:
        things: (H, W), 0 the background, k the k-th thing.
        moving: numbers of the things that move.
        valid: (H, W), where the motion is known.
        max_points: at most so many in all.
        rng: all randomness.

    Returns:
        (K, 2) x, y; None if nothing moves.
    """
    width = things.shape[1]
    chosen: list[int] = []
    rests = valid.copy()
    for number in moving:
        where = (things == number) & valid
        rests &= ~where
        inside = np.flatnonzero(where)
        if len(inside) < _LEAST_AREA:
            continue
        arrows = rng.choice(inside, int(rng.choice(4, p=[0.55, 0.2, 0.15, 0.1])) + 1)
        if rng.random() < 0.5:
            depth = cv2.distanceTransform(np.pad(where.astype(np.uint8), 1), cv2.DIST_L2, 3)
            middle = np.flatnonzero(depth[1:-1, 1:-1] >= 0.85 * depth.max())
            arrows[0] = rng.choice(middle)
        chosen += arrows.tolist()
    chosen = chosen[:max_points]
    if not chosen:
        return None
    pins = 0 if rng.random() < 0.3 else min(_few(_MAX_PINS_BESIDE, rng), max_points - len(chosen))
    border = np.zeros_like(valid)
    rim = max(1, round(0.04 * min(valid.shape)))
    border[:rim] = border[-rim:] = border[:, :rim] = border[:, -rim:] = True
    for kind, count in ((rests & border, pins // 2), (rests, pins - pins // 2)):
        places = np.flatnonzero(kind)
        if count and len(places):
            chosen += rng.choice(places, count).tolist()
    y, x = np.divmod(np.unique(chosen), width)
    return np.stack([x, y], axis=1)


def _few(most: int, rng: np.random.Generator) -> int:
    """From 1 to `most`, evenly on a logarithmic scale."""
    return int((most + 1) ** rng.random())

"""Arrows of any length, brought to what the network knows: the motion between two frames."""

from __future__ import annotations

import numpy as np
from torch import Tensor

STEP = 0.05
"""Length that the longest arrow is brought to for the network, as a share of the image's short
side: a usual motion between two frames."""


def as_step(vectors: Tensor, short_side: int) -> tuple[Tensor, float]:
    """Shorten or lengthen arrows, all by the same factor, to the length of a step.

    Args:
        vectors: (..., 2) in pixels.
        short_side: of the image, in pixels.

    Returns:
        The vectors, and the factor that the flow has to be multiplied by. 1 if none is longer than
        zero.
    """
    # NumPy rounds roots alike on every machine
    longest = float(np.linalg.norm(vectors.cpu().numpy(), axis=-1).max(initial=0.0)) / short_side
    factor = longest / STEP if longest > 0 else 1.0
    return vectors / factor, factor

"""The scores of `annotate`: how much each pixel belongs to the object that was clicked on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.methods.cmp.clicks import click_score, zoom_square
from selfsup_motion.ops.mask_refinement import refine_grabcut, refine_guided
from selfsup_motion.ops.pictures import Picture, as_tensor
from selfsup_motion.weights.trained_cmp import Weights

__all__ = ["probe", "refine_grabcut", "refine_guided", "zoom_square"]


def probe(
    weights: Weights,
    image: Picture,
    positive: NDArray[np.float32],
    negative: NDArray[np.float32],
    *,
    zoom: float | None = None,
) -> NDArray[np.float32]:
    """Score how much each pixel belongs to the object that points lie on.

    Args:
        weights: the network.
        image: RGB uint8, see `ops.pictures.Picture`.
        positive: (K, 2), x, y on the object; at least one.
        negative: (L, 2), x, y beside it.
        zoom: see `click_score`.

    Returns:
        (H, W) float32 in [0, 1]; see `click_score`.
    """

    def move(part: Tensor, points: Tensor, vectors: Tensor) -> Tensor:
        part = part.to(weights.method.device)
        return weights.method.propagate(part, points, vectors, short_side=weights.short_side)

    return click_score(move, as_tensor(image), positive, negative, zoom=zoom)

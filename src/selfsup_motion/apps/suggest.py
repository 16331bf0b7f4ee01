"""Arrows for a photo that nobody has drawn any on."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.apps.arrows import Rows
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.exploration import explore
from selfsup_motion.weights.trained_cmp import Weights

SUGGEST = "suggest"
"""What `arrows=` takes for it."""
_SIDE = 0.75
"""Of the size that the network was trained at: as good for this, and twice as fast."""


def suggested_arrows(weights: Weights, photo: Tensor, count: int = 1) -> Rows:
    """Arrows on what could move most surely, each on another thing.

    Args:
        weights: the network.
        photo: (3, H, W) uint8.
        count: how many at most.

    Returns:
        [[x, y, dx, dy], …], in pixels, rounded; none where nothing stands out.
    """
    side = max(1, round(_SIDE * weights.short_side))
    hints = explore(weights.method, photo, short_side=side).suggest(count)
    height, width = photo.shape[-2:]
    rows = torch.cat([hints.points, hints.vectors], 1).round().long().tolist()
    return [[min(x, width - 1), min(y, height - 1), dx, dy] for x, y, dx, dy in rows]


def arrow_to_begin_with(weights: Weights, photo: Tensor, name: str) -> Rows:
    """The surest of `suggested_arrows`.

    Args:
        weights: the network.
        photo: (3, H, W) uint8.
        name: of the photo, for messages.

    Raises:
        UserError: nothing stands out.
    """
    rows = suggested_arrows(weights, photo)
    if not rows:
        raise UserError(
            f"image={name}: nothing in it stands out as a thing that could move; draw an arrow, "
            "for example arrows=[[120,80,30,-10]]."
        )
    return rows

"""A photo and arrows → the motion of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.apps.arrows import ArrowSet
from selfsup_motion.apps.weights import Weights

STEP = 0.05
"""Length that the longest arrow is brought to for the network, as a share of the short side of what
it was trained on: a usual motion between two frames."""


def predict_motion(weights: Weights, image: Tensor, arrows: ArrowSet) -> Tensor:
    """Let CMP spread the arrows over a photo.

    The network knows motions from one frame to the next. Longer arrows are shortened to such a
    step, all by the same factor, and the flow is lengthened by it again.

    Args:
        weights: the network.
        image: (3, H, W) uint8.
        arrows: in pixels of the image.

    Returns:
        (2, H, W) float32 on the network's device, in pixels, for the whole length of the arrows.
    """
    device = weights.method.device
    points, vectors = (torch.from_numpy(a).to(device) for a in (arrows.points, arrows.vectors))
    longest = float(vectors.norm(dim=-1).max()) / min(image.shape[-2:])
    factor = longest / STEP if longest > 0 else 1.0
    flow = weights.method.propagate(
        image.to(device), points, vectors / factor, short_side=weights.short_side
    )
    return flow * factor

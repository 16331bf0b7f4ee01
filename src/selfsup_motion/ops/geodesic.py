"""Distances along the colours of an image: a step costs more where they change."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.ops.masks import check_mask
from selfsup_motion.ops.running_min import running_min

_FAR = 1e4


def geodesic_distance(image: Tensor, sources: Tensor, *, step: float, sweeps: int = 3) -> Tensor:
    """Cost of the cheapest path from the nearest source to every pixel.

    A step to a neighbour in the row or column costs `step` plus the distance of the two colours.
    Approximate: each sweep passes along all rows and columns, in both directions, so that a path
    with up to 2 · `sweeps` bends is found exactly.

    Args:
        image: (B, C, H, W) float; colours in which distances mean something, such as Lab.
        sources: (B, N, H, W) bool: N sets of pixels where paths begin.
        step: cost of a step between pixels of one colour.
        sweeps: number of passes.

    Returns:
        (B, N, H, W) float32, at most 10,000; that much where a set is empty.

    Raises:
        ValueError: sources that are not bool or of another shape.
    """
    check_mask("sources", sources, (image.shape[0], sources.shape[1], *image.shape[2:]))
    distance = torch.where(sources, 0.0, _FAR)
    image = image.float()
    costs = []  # summed along each axis, so that a path's cost is a difference
    for axis in (-1, -2):
        change = image.diff(dim=axis).norm(dim=1, keepdim=True) + step
        costs.append(
            torch.cat([torch.zeros_like(image[:, :1].narrow(axis, 0, 1)), change], axis).cumsum(
                axis
            )
        )
    for _ in range(sweeps):
        for axis, cost in zip((-1, -2), costs, strict=True):
            forward = running_min(distance - cost, axis) + cost
            backward = running_min((distance + cost).flip(axis), axis).flip(axis) - cost
            distance = torch.minimum(forward, backward)
    return distance.clamp(0.0, _FAR)

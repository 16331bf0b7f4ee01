"""Guidance points of a batch without what no item needs."""

from __future__ import annotations

import torch
from torch import Tensor


def without_padding(
    points: Tensor, vectors: Tensor, point_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Leave out the rows that are padding in every item: on a CPU they cost as much as points do.

    Elsewhere everything stays: to know how many there are, the host would have to wait for the
    device. So it does in a compiled network, whose shapes must not depend on values.

    Args:
        points: (B, K, 2).
        vectors: (B, K, 2).
        point_mask: (B, K) bool, False where a row is padding.

    Returns:
        The same with at most K rows, and at least one.
    """
    if point_mask.device.type == "cpu" and not torch.compiler.is_compiling():
        used = point_mask.any(0).nonzero()[:, 0]
        if 0 < len(used) < len(point_mask[0]):
            return points[:, used], vectors[:, used], point_mask[:, used]
    return points, vectors, point_mask

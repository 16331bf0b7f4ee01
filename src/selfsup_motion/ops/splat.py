"""Pushing pixels forward with soft occlusion, and filling what nothing was pushed to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.masks import check_weight


def softmax_splat(values: Tensor, flow: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """Push each pixel along its flow, shared bilinearly among the four pixels around its target.

    Where several pixels land, they are averaged with weights exp(importance) (softmax splatting,
    Niklaus and Liu 2020): the more important hides the others.

    Args:
        values: (B, C, H, W) float.
        flow: (B, 2, H, W), (x, y) displacement in pixels.
        importance: (B, 1, H, W).

    Returns:
        splatted: (B, C, H, W), zero where nothing landed; differentiable in all arguments.
        coverage: (B, 1, H, W): how much landed, without `importance`; 1 where pixels stay side by
            side, less where they part, 0 in holes.
    """
    batch, channels, height, width = values.shape
    if flow.shape != (batch, 2, height, width) or importance.shape != (batch, 1, height, width):
        raise ValueError(
            "expected values (B, C, H, W), flow (B, 2, H, W) and importance (B, 1, H, W), got "
            f"{tuple(values.shape)}, {tuple(flow.shape)} and {tuple(importance.shape)}"
        )
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    left, top = x.floor(), y.floor()
    # one scale for all leaves the quotient as it is and keeps exp from overflowing
    weight = (importance - importance.amax((1, 2, 3), keepdim=True)).exp()
    payload = torch.cat([values * weight, weight, torch.ones_like(weight)], 1).flatten(2)
    total = payload.new_zeros(batch, channels + 2, height * width)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        share = (1 - (x - column).abs()) * (1 - (y - row).abs())
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        cell = torch.where(inside, row * width + column, 0).long().flatten(1)
        pushed = payload * torch.where(inside, share, 0).flatten(1)[:, None]
        total = total.scatter_add(2, cell[:, None].expand(-1, channels + 2, -1), pushed)
    total = total.view(batch, channels + 2, height, width)
    norm = total[:, -2:-1]
    # a pixel that only unimportant ones reach has a weight far below 1, but not below this
    splatted = torch.where(norm > 1e-30, total[:, :-2] / norm.clamp(min=1e-30), 0)
    return splatted, total[:, -1:]


def fill_holes(values: Tensor, weight: Tensor) -> Tensor:
    """Fill pixels from their surroundings, near ones first (push-pull pyramid).

    Args:
        values: (B, C, H, W) float.
        weight: (B, 1, H, W) in [0, 1]: 1 keeps a pixel, 0 replaces it, between mixes.

    Returns:
        (B, C, H, W); zero if no pixel of an item has weight. Differentiable in `values`.

    Raises:
        ValueError: a weight that is not floating point or of another shape.
    """
    height, width = values.shape[-2:]
    check_weight("weight", weight, (values.shape[0], 1, height, width))
    if max(height, width) == 1:
        return values * weight
    odd = (0, width % 2, 0, height % 2)
    mass = F.avg_pool2d(F.pad(weight, odd), 2)
    sums = F.avg_pool2d(F.pad(values * weight, odd), 2)
    coarse = fill_holes(sums / mass.clamp(min=1e-12), (4 * mass).clamp(max=1))
    size = coarse.shape[-2] * 2, coarse.shape[-1] * 2
    fine = F.interpolate(coarse, size, mode="bilinear")[..., :height, :width]
    return values * weight + fine * (1 - weight)

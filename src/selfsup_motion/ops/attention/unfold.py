"""Restricted attention as textbooks write it: unfold every window, multiply, add up.

Slow and large: (2r+1)² copies of the keys are held. It is here to check the tiled form against, in
tests and benchmarks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.attention.layout import OUTSIDE, Window
from selfsup_motion.ops.attention.tiles import compute_dtype


def unfold_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int,
    dilation: int,
    scale: float,
    exclude: bool,
    window: Window,
    top_k: int | None,
) -> Tensor:
    """`restricted_attention` of query (B, C, H, W), key (B, N, C, H, W), value (B, N, D, H, W)."""
    dtype = compute_dtype(query, key, value)
    kind, query, key, value = value.dtype, query.to(dtype), key.to(dtype), value.to(dtype)
    keys, values = _windows(key, radius, dilation), _windows(value, radius, dilation)
    scores = scale * (query[:, None, :, None] * keys).sum(2)  # (B, N, P, H, W)
    steps = torch.arange(-radius, radius + 1, device=query.device)
    if window == "disc":
        inside = steps[:, None].square() + steps.square() < radius**2
        scores = scores.masked_fill(~inside.view(1, 1, -1, 1, 1), OUTSIDE)
    if exclude:
        ones = torch.ones_like(query[:1, None, :1])
        scores = scores.masked_fill(_windows(ones, radius, dilation)[:, :, 0] == 0, OUTSIDE)
    scores = scores.flatten(1, 2)
    if top_k is not None and top_k < scores.shape[1]:
        best, where = scores.topk(top_k, dim=1)
        scores = torch.full_like(scores, OUTSIDE).scatter(1, where, best)
    weights = torch.softmax(scores, dim=1)
    out = torch.einsum("bphw,bdphw->bdhw", weights, values.transpose(1, 2).flatten(2, 3))
    return out.to(kind)


def unfold_correlation(query: Tensor, key: Tensor, radius: int, dilation: int) -> Tensor:
    """`local_correlation` of query and key (B, C, H, W)."""
    return (query[:, :, None] * _windows(key[:, None], radius, dilation)[:, 0]).sum(1)


def _windows(images: Tensor, radius: int, dilation: int) -> Tensor:
    """(B, N, C, H, W) → (B, N, C, (2·radius + 1)², H, W), zero outside the image."""
    batch, count, channels, height, width = images.shape
    side = 2 * radius + 1
    unfolded = F.unfold(images.flatten(0, 1), side, dilation, radius * dilation)
    return unfolded.view(batch, count, channels, side * side, height, width)

"""Restricted attention and local correlation over tiles, forwards and backwards.

Scores, and copies of what they are computed from, live for one chunk of tiles at a time. Only the
attention weights are stored for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from selfsup_motion.ops.attention.gradients import Gradients
from selfsup_motion.ops.attention.layout import Layout
from selfsup_motion.ops.attention.tiles import Inputs, Tiles


class Attention(Function):
    """softmax(scale · query · key) · value, over each query's window in all N references."""

    @staticmethod
    def forward(
        ctx: Any, layout: Layout, scale: float, top_k: int | None, *tensors: Tensor
    ) -> Tensor:
        """(B, C, H, W), (B, N, C, H, W), (B, N, D, H, W), … → (B, D, H, W)."""
        inputs = Inputs(*tensors)
        tiles = Tiles(layout, inputs, scale)
        out = tiles.images(inputs.value.shape[2])
        stored: list[Tensor] = []
        storing = any(ctx.needs_input_grad)
        for chunk, scores, value in tiles.scored():
            weights = torch.empty_like(scores) if storing else tiles.scores(chunk, "weights")
            softmax(scores, top_k, weights)
            tiles.store(chunk, tiles.copied(weights, value), out)
            if storing:
                stored.append(weights)
        ctx.save_for_backward(*inputs[:3], out, *stored)
        ctx.layout, ctx.scale = layout, scale
        return out.to(inputs.value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value, out, *stored = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            # softmax: dscore = weight · (dweight − Σ weight · dweight), and the sum is out · dout:
            # as if one more value, of -1, were copied
            grad = grad.to(out.dtype)
            incoming = torch.cat([grad, (grad * out).sum(1, keepdim=True)], dim=1)
            values = torch.cat([value, value.new_full(value[:, :, :1].shape, -1.0)], dim=2)
            tiles = Tiles(ctx.layout, Inputs(query, key, values, None), ctx.scale)
            gradients = Gradients(tiles, ctx.needs_input_grad[3:6])
            for chunk, weights in zip(tiles.chunks(), stored, strict=True):
                gradients.add(chunk, incoming, weights)
            return None, None, None, *gradients.images(value), None


class Correlation(Function):
    """query · key for every key of each query's square window, in one reference."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, query: Tensor, key: Tensor) -> Tensor:
        """(B, C, H, W), (B, 1, C, H, W) → (B, (2r+1)², H, W)."""
        assert layout.radius is not None
        tiles = Tiles(layout, Inputs(query, key, key[:, :, :0], None), 1.0)
        side = 2 * layout.radius + 1
        out = query.new_empty((len(query), *layout.size, side * side)).movedim(-1, 1)
        for chunk, scores, _ in tiles.scored():
            own = layout.own_windows(scores.flatten(0, 1))
            shape = (*scores.shape[:3], side * side)
            tiles.store(chunk, own.reshape(shape).transpose(2, 3), out)
        ctx.layout = layout
        ctx.save_for_backward(query, key)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query and key."""
        layout: Layout = ctx.layout
        query, key = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            tiles = Tiles(layout, Inputs(query, key, key[:, :, :0], None), 1.0)
            gradients = Gradients(tiles, (*ctx.needs_input_grad[1:], False))
            for chunk in tiles.chunks():
                incoming = layout.query_tiles(tiles.queries(chunk, "incoming", grad))
                scores = tiles.scores(chunk, "scores").zero_()
                own = layout.own_windows(scores.flatten(0, 1))
                own.copy_(incoming.transpose(2, 3).reshape(own.shape))
                gradients.add_scores(chunk, scores)
            return None, *gradients.images(key)[:2]


def softmax(scores: Tensor, top_k: int | None, out: Tensor) -> None:
    """Softmax over the last dimension, or over its `top_k` highest scores (the others get 0)."""
    if top_k is None or top_k >= scores.shape[-1]:
        torch.softmax(scores, dim=-1, out=out)
        return
    best, where = highest(scores, top_k)
    out.zero_().scatter_(-1, where, torch.softmax(best, dim=-1))


def highest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` highest scores of the last dimension in descending order, and their indices.

    For long rows, the highest are looked for in the `k` of many groups that hold the highest
    maxima: several times faster than `topk` over all.
    """
    groups = 64 * k
    members, rest = divmod(scores.shape[-1], groups)
    if members < 4:
        values, where = scores.topk(k, dim=-1)
        return values, where
    # group g holds the scores g, g + groups, g + 2·groups, …: maxima over contiguous rows
    grouped = torch.unflatten(scores[..., : members * groups], -1, (members, groups))
    best_groups = grouped.amax(-2).topk(k, dim=-1).indices
    steps = torch.arange(members, device=scores.device) * groups
    candidates = (best_groups[..., None] + steps).flatten(-2)
    if rest:
        tail = torch.arange(members * groups, scores.shape[-1], device=scores.device)
        candidates = torch.cat([candidates, tail.expand(*candidates.shape[:-1], rest)], -1)
    values, where = scores.gather(-1, candidates).topk(k, dim=-1)
    return values, candidates.gather(-1, where)

"""Restricted attention and local correlation over tiles, forwards and backwards.

The scores live for one chunk of tiles at a time, the keys of a tile are copied together when they
are needed and never kept. Only the attention weights are stored for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from selfsup_motion.ops.attention.layout import OUTSIDE, Chunk, Layout


class Inputs(NamedTuple):
    """What attention is computed from.

    `query` (B, C, H, W); `key` (B, N, C, H, W); `value` (B, N, D, H, W); `inside` (B, 1, 1, H, W)
    bool, False where a key takes no part, as it does outside the image; None: keys outside the
    image take part, with a score and a value of zero.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    inside: Tensor | None


class Tile(NamedTuple):
    """A chunk of T tiles: scores (T, queries, N · keys), values (T, N · keys, D)."""

    chunk: Chunk
    scores: Tensor
    value: Tensor


class Tiles:
    """An image of queries and its references, ready to be gone through chunk by chunk.

    Attributes:
        query: grid (B, rows, columns, C), see `Layout`.
        memory: grid (B, N, rows, columns, C + D), keys and values side by side.
    """

    def __init__(self, layout: Layout, query: Tensor, memory: Tensor, scale: float) -> None:
        self.layout, self.query, self.memory, self.scale = layout, query, memory, scale
        self.channels = query.shape[-1]
        keys = memory.shape[1] * layout.num_keys
        self._sizes = {
            "query": (layout.num_queries, self.channels),
            "memory": (keys, memory.shape[-1]),
            "spread": (keys, memory.shape[-1]),  # gradient of the memory
            "scores": (layout.num_queries, keys),
        }
        numbers = sum(a * b for a, b in self._sizes.values())
        self._bytes = numbers * query.dtype.itemsize
        self._most = max(chunk.num_tiles for chunk in self.chunks())
        self._buffers: dict[str, Tensor] = {}

    @classmethod
    def of(cls, layout: Layout, inputs: Inputs, scale: float) -> Tiles:
        """Bring images into the form of grids."""
        dtype = compute_dtype(*inputs[:3])
        query = layout.query_grid(inputs.query, dtype)
        return cls(layout, query, layout.key_grid((inputs.key, inputs.value), dtype), scale)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks of tiles, in order."""
        return self.layout.chunks(len(self.query), self._bytes, self.query.device)

    def scored(self, inside: Tensor | None) -> Iterator[Tile]:
        """Compute the scores. The tensors of a chunk are overwritten by the next."""
        layout, references = self.layout, self.memory.shape[1]
        dtype = self.query.dtype
        mask = layout.window_mask(dtype, self.query.device)
        outside = None
        if inside is not None and layout.radius is not None:
            closed = torch.where(inside, 0.0, OUTSIDE).to(dtype)
            outside = layout.key_tiles(layout.key_grid((closed,), dtype, fill=OUTSIDE))
        queries, memories = layout.query_tiles(self.query), layout.key_tiles(self.memory)
        for chunk in self.chunks():
            query, memory = (
                self.queries(chunk, queries[chunk]),
                self.memories(chunk, memories[chunk]),
            )
            key, value = memory[..., : self.channels], memory[..., self.channels :]
            scores = torch.bmm(query, key.transpose(1, 2), out=self.buffer("scores", chunk))
            each = scores.view(len(query), layout.num_queries, references, layout.num_keys)
            if mask is not None:
                each += mask[:, None]
            if outside is not None:
                each += outside[chunk].reshape(len(query), 1, 1, layout.num_keys)
            yield Tile(chunk, scores, value)

    def buffer(self, name: str, chunk: Chunk) -> Tensor:
        """Memory for something of a chunk, used again for the next one."""
        if name not in self._buffers:
            self._buffers[name] = self.query.new_empty((self._most, *self._sizes[name]))
        return self._buffers[name][: chunk.num_tiles]

    def memories(self, chunk: Chunk, tiles: Tensor) -> Tensor:
        """Copy the references (batch, rows, columns, N, *seen, C + D) of a chunk together."""
        if tiles.is_contiguous():
            return tiles.view(chunk.num_tiles, *self._sizes["memory"])
        buffer = self.buffer("memory", chunk)
        buffer.view(tiles.shape).copy_(tiles)
        return buffer

    def queries(self, chunk: Chunk, tiles: Tensor) -> Tensor:
        """Copy the scaled queries (batch, rows, columns, height, width, C) of a chunk together."""
        buffer = self.buffer("query", chunk)
        torch.mul(tiles, self.scale, out=buffer.view(tiles.shape))
        return buffer


class Attention(Function):
    """softmax(scale · query · key) · value, over each query's window in all N references."""

    @staticmethod
    def forward(
        ctx: Any, layout: Layout, scale: float, top_k: int | None, *tensors: Tensor
    ) -> Tensor:
        """(B, C, H, W), (B, N, C, H, W), (B, N, D, H, W), … → (B, D, H, W)."""
        inputs = Inputs(*tensors)
        tiles = Tiles.of(layout, inputs, scale)
        dtype = tiles.query.dtype
        out = layout.empty_query_grid(inputs.value[:, 0], dtype)
        targets = layout.query_tiles(out)
        stored = None
        if any(ctx.needs_input_grad):
            keys = inputs.key.shape[1] * layout.num_keys
            stored = out.new_empty((len(out), *layout.tiles, layout.num_queries, keys))
        for chunk, scores, value in tiles.scored(inputs.inside):
            weights = softmax(scores, top_k)
            target = targets[chunk]
            target.copy_(torch.bmm(weights, value).view(target.shape))
            if stored is not None:
                part = stored[chunk]
                part.copy_(weights.view(part.shape))
        if stored is not None:
            ctx.save_for_backward(tiles.query, tiles.memory, stored, out)
        ctx.layout, ctx.scale = layout, scale
        ctx.dtypes = tuple(tensor.dtype for tensor in inputs[:3])
        return layout.from_query_grid(out).to(inputs.value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, memory, stored, out = ctx.saved_tensors
        layout: Layout = ctx.layout
        with torch.autocast(grad.device.type, enabled=False):
            tiles = Tiles(layout, query, memory, ctx.scale)
            gradients = Gradients(tiles, ctx.needs_input_grad[3:6])
            incoming = layout.query_grid(grad, query.dtype)
            # softmax: dscore = weight · (dweight − Σ weight · dweight), and the sum is out · dout
            sums = layout.query_tiles((incoming * out).sum(-1, keepdim=True))
            incoming = layout.query_tiles(incoming)
            for chunk in tiles.chunks():
                g = incoming[chunk].reshape(chunk.num_tiles, layout.num_queries, -1)
                weights = stored[chunk].reshape(chunk.num_tiles, layout.num_queries, -1)
                gradients.add(chunk, g, weights, sums[chunk])
            return None, None, None, *gradients.images(ctx.dtypes), None


class Correlation(Function):
    """query · key for every key of each query's square window, in one reference."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, query: Tensor, key: Tensor) -> Tensor:
        """(B, C, H, W), (B, 1, C, H, W) → (B, (2r+1)², H, W)."""
        assert layout.radius is not None
        tiles = Tiles.of(layout, Inputs(query, key, key[:, :, :0], None), 1.0)
        channels = (2 * layout.radius + 1) ** 2
        out = tiles.query.new_empty((*tiles.query.shape[:-1], channels))
        targets = layout.query_tiles(out)
        for chunk, scores, _ in tiles.scored(None):
            target = targets[chunk]
            target.copy_(layout.own_windows(scores).reshape(target.shape))
        ctx.layout = layout
        ctx.dtypes = query.dtype, key.dtype, key.dtype
        ctx.save_for_backward(tiles.query, tiles.memory)
        return layout.from_query_grid(out).to(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query and key."""
        layout: Layout = ctx.layout
        query, memory = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            tiles = Tiles(layout, query, memory, 1.0)
            gradients = Gradients(tiles, (*ctx.needs_input_grad[1:], False))
            incoming = layout.query_tiles(layout.query_grid(grad, tiles.query.dtype))
            for chunk in tiles.chunks():
                scores = tiles.buffer("scores", chunk).zero_()
                own = layout.own_windows(scores)
                own.copy_(incoming[chunk].reshape(own.shape))
                gradients.add_scores(chunk, scores)
            return None, *gradients.images(ctx.dtypes)[:2]


class Gradients:
    """Collects the gradients of queries, keys and values chunk by chunk."""

    def __init__(self, tiles: Tiles, needed: tuple[bool, ...]) -> None:
        self.tiles, layout = tiles, tiles.layout
        self.needs_query, self.needs_key, self.needs_value = needed
        self.query = torch.empty_like(tiles.query)
        self.memory = torch.zeros_like(tiles.memory)
        channels = tiles.channels
        first = 0 if self.needs_key else channels
        last = None if self.needs_value else channels
        self._collected = slice(first, last)
        self._pieces = layout.key_pieces(self.memory[..., first:last])
        self._query_targets = layout.query_tiles(self.query)
        self._queries = layout.query_tiles(tiles.query)
        self._memories = layout.key_tiles(tiles.memory)

    def add(self, chunk: Chunk, grad: Tensor, weights: Tensor, sums: Tensor) -> None:
        """Add what a chunk's output gradient (T, queries, D) means."""
        channels = self.tiles.channels
        memory = self.tiles.memories(chunk, self._memories[chunk])
        spread = self.tiles.buffer("spread", chunk)
        if self.needs_value:
            torch.bmm(weights.transpose(1, 2), grad, out=spread[..., channels:])
        if self.needs_query or self.needs_key:
            scores = torch.bmm(grad, memory[..., channels:].transpose(1, 2))
            scores -= sums.reshape(*scores.shape[:2], 1)
            scores *= weights
            self._scores(chunk, scores, memory, spread)
        if self.needs_key or self.needs_value:
            self.tiles.layout.add_key_tiles(self._pieces, chunk, spread[..., self._collected])

    def add_scores(self, chunk: Chunk, scores: Tensor) -> None:
        """Add what the gradient of a chunk's scores (T, queries, N · keys) means."""
        memory = self.tiles.memories(chunk, self._memories[chunk])
        spread = self.tiles.buffer("spread", chunk)
        self._scores(chunk, scores, memory, spread)
        if self.needs_key:
            self.tiles.layout.add_key_tiles(self._pieces, chunk, spread[..., self._collected])

    def _scores(self, chunk: Chunk, scores: Tensor, memory: Tensor, spread: Tensor) -> None:
        channels = self.tiles.channels
        if self.needs_query:
            target = self._query_targets[chunk]
            found = torch.bmm(scores, memory[..., :channels])
            torch.mul(found.view(target.shape), self.tiles.scale, out=target)
        if self.needs_key:
            query = self.tiles.queries(chunk, self._queries[chunk])
            torch.bmm(scores.transpose(1, 2), query, out=spread[..., :channels])

    def images(self, dtypes: tuple[torch.dtype, ...]) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value; None where not needed."""
        layout, channels = self.tiles.layout, self.tiles.channels
        key, value = self.memory[..., :channels], self.memory[..., channels:]
        return (
            layout.from_query_grid(self.query).to(dtypes[0]) if self.needs_query else None,
            layout.from_key_grid(key).to(dtypes[1]) if self.needs_key else None,
            layout.from_key_grid(value).to(dtypes[2]) if self.needs_value else None,
        )


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The widest of the tensors' dtypes, at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def softmax(scores: Tensor, top_k: int | None) -> Tensor:
    """Softmax over the last dimension, or over its `top_k` highest scores (the others get 0)."""
    if top_k is None or top_k >= scores.shape[-1]:
        return torch.softmax(scores, dim=-1)
    best, where = highest(scores, top_k)
    return torch.zeros_like(scores).scatter_(-1, where, torch.softmax(best, dim=-1))


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

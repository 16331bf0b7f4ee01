"""The strips and tiles of images, chunk by chunk: copied from the images, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_motion.ops.attention.layout import OUTSIDE, Chunk, Layout, Same


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
    """A chunk of tiles, in S strips of R tiles each.

    Attributes:
        scores: (S, R, queries, keys), the keys of all references.
        value: (S, R, D, keys), a view whose tiles overlap.
    """

    chunk: Chunk
    scores: Tensor
    value: Tensor


class Tiles:
    """An image of queries and its references, ready to be gone through chunk by chunk.

    A chunk's tensors are overwritten by the next one's.
    """

    def __init__(self, layout: Layout, inputs: Inputs, scale: float) -> None:
        self.layout, self.inputs, self.scale = layout, inputs, scale
        self.dtype = compute_dtype(*inputs[:3])
        self.references = inputs.key.shape[1]
        self.keys = self.references * layout.num_keys
        self._device = inputs.query.device
        self._buffers: dict[str, Tensor] = {}
        self._filled: dict[str, Chunk] = {}

    def chunks(self) -> Iterator[Chunk]:
        """The chunks of tiles, in order."""
        layout, inputs = self.layout, self.inputs
        query, value = inputs.query.shape[1], inputs.value.shape[2]
        tile = layout.num_queries * (2 * self.keys + 2 * query + value)
        row = layout.seen[1] * self.references * (query + value)
        return layout.chunks(len(inputs.query), (tile, row), self.dtype.itemsize)

    def scored(self) -> Iterator[Tile]:
        """Compute the scores."""
        layout, inside = self.layout, self.inputs.inside
        mask = layout.window_mask(self.dtype, self._device)
        if inside is not None:
            inside = torch.where(inside, 0.0, OUTSIDE).to(self.dtype)
        for chunk in self.chunks():
            query = layout.query_tiles(self.queries(chunk, "query", self.inputs.query))
            key = layout.key_tiles(self.memories(chunk, "key", self.inputs.key))
            value = layout.key_tiles(self.memories(chunk, "value", self.inputs.value))
            scores = self.scores(chunk, "scores")
            if mask is None:
                products(query.transpose(2, 3), key, scores, alpha=self.scale)
            else:
                self._mask(chunk, mask, inside, scores)
                products(query.transpose(2, 3), key, scores, alpha=self.scale, beta=1)
            yield Tile(chunk, scores, value)

    def copied_and_normaliser(self) -> tuple[Tensor, Tensor]:
        """Copies (B, D, H, W) and logs of the softmax's denominators (B, 1, H, W)."""
        copy, normaliser = self.images(self.inputs.value.shape[2]), self.images(1)
        for chunk, scores, near in self.scored():
            weights = torch.softmax(scores, -1, out=self.scores(chunk, "weights"))
            # = logsumexp(scores), several times faster: the largest weight is exp(largest - it)
            norm = scores.amax(-1, True) - weights.amax(-1, True).log()
            self.store(chunk, norm.transpose(2, 3), normaliser)
            self.store(chunk, self.copied(weights, near), copy)
        return copy, normaliser

    def scores(self, chunk: Chunk, name: str) -> Tensor:
        """Memory for scores (S, R, queries, keys) of a chunk."""
        return self.memory(name, chunk.num_strips, chunk.num_rows, self.layout.num_queries,
                           self.keys)  # fmt: skip

    def memory(self, name: str, *shape: int) -> Tensor:
        """Memory that the next chunk uses again, its content unknown."""
        count = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < count:
            self._buffers[name] = self.inputs.query.new_empty(count, dtype=self.dtype)
        return self._buffers[name][:count].view(shape)

    def query_strips(self, chunk: Chunk, name: str, like: Tensor) -> Tensor:
        """Memory for strips (S, C, rows, 1, columns) of queries of images `like` (B, C, H, W)."""
        rows, columns = self.layout.query_rows(chunk), self.layout.tile[1]
        return self._strips(chunk, name, like[:, None], rows, columns)

    def key_strips(self, chunk: Chunk, name: str, like: Tensor) -> Tensor:
        """Memory for strips (S, C, rows, N, columns) of keys of images `like` (B, N, C, H, W)."""
        return self._strips(chunk, name, like, self.layout.key_rows(chunk), self.layout.seen[1])

    def queries(self, chunk: Chunk, name: str, images: Tensor) -> Tensor:
        """Copy strips (S, C, rows, 1, columns) of images (B, C, H, W); 0 outside them."""
        strips = self.query_strips(chunk, name, images)
        _copy(self.layout.same_queries(chunk, images[:, None], strips), 0.0)
        return strips

    def memories(self, chunk: Chunk, name: str, images: Tensor, fill: float = 0.0) -> Tensor:
        """Copy strips (S, C, rows, N, columns) of images (B, N, C, H, W); `fill` outside them."""
        strips = self.key_strips(chunk, name, images)
        seen = self.seen_by(chunk)
        if self._filled.get(name) != seen:
            self._filled[name] = seen
            _copy(self.layout.same_keys(chunk, images, strips), fill)
        return strips

    def seen_by(self, chunk: Chunk) -> Chunk:
        """What tells apart the keys of two chunks: without windows, all rows see the same."""
        return chunk if self.layout.radius is not None else chunk._replace(rows=slice(0, 1))

    def copied(self, weights: Tensor, value: Tensor) -> Tensor:
        """Tiles (S, R, D, queries) of the sums of the values (S, R, D, keys) with these weights."""
        shape = (*value.shape[:3], self.layout.num_queries)
        return products(value, weights.transpose(2, 3), self.memory("copied", *shape))

    def images(self, channels: int) -> Tensor:
        """Images (B, channels, H, W) for `store`."""
        query = self.inputs.query
        return query.new_empty((len(query), channels, *self.layout.size), dtype=self.dtype)

    def store(self, chunk: Chunk, tiles: Tensor, images: Tensor) -> None:
        """Write tiles (S, R, C, queries) into images (B, C, H, W)."""
        height, width = self.layout.tile
        strips = torch.unflatten(tiles, 3, (height, width)).transpose(
            1, 2
        )  # (S, C, R, height, width)
        strips = torch.unflatten(strips, 0, (chunk.batch.stop - chunk.batch.start, -1))
        top = chunk.rows.start * height
        for n, column in enumerate(range(chunk.columns.start, chunk.columns.stop)):
            left = column * width
            target = images[chunk.batch, :, top : top + chunk.num_rows * height,
                            left : left + width]  # fmt: skip
            source = strips[:, n, ..., : target.shape[3]]
            whole, rest = divmod(target.shape[2], height)
            if rest:
                target[:, :, whole * height :].copy_(source[:, :, whole, :rest])
            rows = torch.unflatten(target[:, :, : whole * height], 2, (whole, height))
            rows.copy_(source[:, :, :whole])

    def _mask(self, chunk: Chunk, mask: Tensor, inside: Tensor | None, scores: Tensor) -> None:
        """Set scores to 0 or, where a key takes no part, to `OUTSIDE` or less."""
        shape = (self.layout.num_queries, self.layout.seen[0], self.references,
                 self.layout.seen[1])  # fmt: skip
        each = torch.unflatten(scores, 3, shape[1:])
        if inside is None:
            each.copy_(mask[:, :, None])
            return
        strips = self.memories(chunk, "inside", inside, fill=OUTSIDE)
        own = torch.unflatten(self.layout.key_tiles(strips), 3, (shape[1], 1, shape[3]))
        torch.add(own.expand(-1, -1, -1, -1, self.references, -1), mask[:, :, None], out=each)

    def _strips(self, chunk: Chunk, name: str, like: Tensor, rows: int, columns: int) -> Tensor:
        """In the order of the images' numbers, so that copying is fast."""
        count, (references, channels) = chunk.num_strips, like.shape[1:3]
        if like.stride(2) == 1 and channels > 1:  # channels last
            strips = self.memory(name, count, rows, references, columns, channels)
            return strips.permute(0, 4, 1, 2, 3)
        return self.memory(name, count, channels, rows, references, columns)


def products(a: Tensor, b: Tensor, out: Tensor, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """out = alpha · a b + beta · out, for matrices (S, R, …) that may overlap in memory."""
    if a.device.type == "cpu" or len(a) == 1:
        for each, x, y in zip(out, a, b, strict=True):
            each.baddbmm_(x, y, alpha=alpha, beta=beta)
        return out
    # few launches count for more than copies
    flat = (x.flatten(0, 1) for x in (a, b))
    return out.view(-1, *out.shape[2:]).baddbmm_(*flat, alpha=alpha, beta=beta).view(out.shape)


def add_products(a: Tensor, b: Tensor, out: Tensor, *, alpha: float = 1.0) -> None:
    """out += alpha · a b, for matrices (S, R, …); those of a strip in `out` overlap in memory."""
    for targets, left, right in zip(out.unbind(1), a.unbind(1), b.unbind(1), strict=True):
        if out.device.type == "cpu":
            for target, x, y in zip(targets.unbind(), left.unbind(), right.unbind(), strict=True):
                target.addmm_(x, y, alpha=alpha)
        else:
            targets.baddbmm_(left, right, alpha=alpha)


def _copy(parts: Iterable[Same], fill: float) -> None:
    """Set strips to what they are of the images, and to `fill` outside."""
    for image, strip, outside in parts:
        strip.copy_(image)
        for part in outside:
            part.fill_(fill)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The widest of the tensors' dtypes, at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype

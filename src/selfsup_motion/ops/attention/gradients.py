"""The gradients of restricted attention and local correlation, collected chunk by chunk."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.ops.attention.layout import Chunk
from selfsup_motion.ops.attention.tiles import Tiles, add_products, products


class Gradients:
    """Collects the gradients of queries, keys and values.

    Args:
        tiles: of what the gradients belong to. The last channel of their values has no gradient.
        needed: whether those of query, key and value are.
    """

    def __init__(self, tiles: Tiles, needed: tuple[bool, ...]) -> None:
        self.tiles, inputs, dtype = tiles, tiles.inputs, tiles.dtype
        self.query = torch.empty_like(inputs.query, dtype=dtype) if needed[0] else None
        self.key = torch.zeros_like(inputs.key, dtype=dtype) if needed[1] else None
        self.value = torch.zeros_like(inputs.value[:, :, :-1], dtype=dtype) if needed[2] else None

    def add(self, chunk: Chunk, incoming: Tensor, weights: Tensor) -> None:
        """Add what the gradient of the output means for a chunk.

        Args:
            chunk: which tiles.
            incoming: (B, D + 1, H, W): the output's gradient and, for each query, the sum of its
                weights times their gradients.
            weights: (S, R, queries, keys) of the chunk.
        """
        tiles, layout = self.tiles, self.tiles.layout
        own = _Chunk(self, chunk)
        near = layout.query_tiles(tiles.queries(chunk, "incoming", incoming))
        value = layout.key_tiles(tiles.memories(chunk, "value", tiles.inputs.value))
        own.add_weights(near[:, :, :-1], weights)
        if self.query is not None or self.key is not None:
            scores = tiles.scores(chunk, "scores")
            products(near.transpose(2, 3), value, scores)
            own.add_scores(scores.mul_(weights))
        own.collect()

    def add_scores(self, chunk: Chunk, scores: Tensor) -> None:
        """Add what the gradient of a chunk's scores (S, R, queries, keys) means."""
        own = _Chunk(self, chunk)
        own.add_scores(scores)
        own.collect()

    def images(self, value: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and `value`; None where not needed."""
        query, key = self.tiles.inputs[:2]
        pairs = ((self.query, query), (self.key, key), (self.value, value))
        return tuple(None if new is None else new.to(old.dtype) for new, old in pairs)


class _Chunk:
    """The gradients of a chunk, in tiles and strips."""

    def __init__(self, whole: Gradients, chunk: Chunk) -> None:
        self._whole, self._chunk = whole, chunk
        tiles, inputs, layout = whole.tiles, whole.tiles.inputs, whole.tiles.layout
        self._query_grad = self._key_strips = self._value_strips = None
        if whole.query is not None:
            self._key = layout.key_tiles(tiles.memories(chunk, "key", inputs.key))
            shape = (*self._key.shape[:3], layout.num_queries)
            self._query_grad = tiles.memory("query gradient", *shape)
        if whole.key is not None:
            self._query = layout.query_tiles(tiles.queries(chunk, "query", inputs.query))
            self._key_strips = tiles.key_strips(chunk, "key gradient", whole.key).zero_()
            self._key_grad = layout.key_tiles(self._key_strips)
        if whole.value is not None:
            self._value_strips = tiles.key_strips(chunk, "value gradient", whole.value).zero_()
            self._value_grad = layout.key_tiles(self._value_strips)

    def add_weights(self, grad: Tensor, weights: Tensor) -> None:
        """Add what gradients (S, R, D, queries) and the weights mean for the values."""
        if self._value_strips is not None:
            add_products(grad, weights, self._value_grad)

    def add_scores(self, scores: Tensor) -> None:
        """Add what the gradient (S, R, queries, keys) of the scores means."""
        scale = self._whole.tiles.scale
        if self._query_grad is not None:
            products(self._key, scores.transpose(2, 3), self._query_grad, alpha=scale)
        if self._key_strips is not None:
            add_products(self._query, scores, self._key_grad, alpha=scale)

    def collect(self) -> None:
        """Add it to the images."""
        tiles, whole = self._whole.tiles, self._whole
        if whole.query is not None and self._query_grad is not None:
            tiles.store(self._chunk, self._query_grad, whole.query)
        for images, strips in ((whole.key, self._key_strips), (whole.value, self._value_strips)):
            if images is not None and strips is not None:
                for image, strip, _ in tiles.layout.same_keys(self._chunk, images, strips):
                    image += strip

"""How an image of queries is cut into tiles and strips, and which keys those of a tile share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Window = Literal["square", "disc"]

OUTSIDE = -1e30
"""Added to the score of a key that takes no part. Finite: a row of only these makes no NaN."""

# Rows and columns of a tile's queries. Fewer rows waste fewer products (see `Layout`); on a CPU a
# matrix product with 32 rows is as fast as a large one, other devices want larger and fewer.
_TILE = {"cpu": (4, 8), "other": (8, 8)}
_LEAST_ROWS = 16  # of queries in a chunk: its keys are copied with a margin
# Working memory of one chunk, in bytes. On a CPU the chunk should stay in the caches.
_CHUNK = {"cpu": 8 << 20, "other": 256 << 20}


class Chunk(NamedTuple):
    """A range of batch items, of rows of tiles and of columns of tiles."""

    batch: slice
    rows: slice
    columns: slice

    @property
    def num_strips(self) -> int:
        """Number of columns of tiles, over all batch items."""
        return math.prod(part.stop - part.start for part in (self.batch, self.columns))

    @property
    def num_rows(self) -> int:
        """Number of rows of tiles."""
        return int(self.rows.stop - self.rows.start)

    @property
    def num_tiles(self) -> int:
        """Number of tiles."""
        return self.num_strips * self.num_rows


class Same(NamedTuple):
    """Views of the same pixels.

    Attributes:
        image: (batch, C, rows, N, columns) of the images.
        strip: the same shape, of the strips of a column of tiles.
        outside: what else of these strips there is, outside the images.
    """

    image: Tensor
    strip: Tensor
    outside: list[Tensor]


class Layout:
    """Tiles of queries, and for each tile the rectangle of keys that its windows cover.

    The scores of a tile are one dense matrix product. With 4 × 8 queries and windows of 13 × 13, a
    tile covers 16 × 20 keys: of the products, 53 % are needed, the others are masked; that costs
    less than anything that computes only the needed ones. What a column of tiles sees is copied
    together as a strip, in which the keys of each of its tiles are one matrix, without a copy of
    their own, however much those of neighbours overlap.

    Args:
        size: (height, width) of the images, in cells.
        radius: of the windows, in cells; None: every query sees all keys.
        window: "square", or "disc": Euclidean distance < radius.
        device: what it is computed on.
    """

    def __init__(
        self, size: tuple[int, int], radius: int | None, window: Window, device: torch.device
    ) -> None:
        self.size = height, width = size
        self.radius = radius
        self.window: Window = window
        kind = "cpu" if device.type == "cpu" else "other"
        self._room = _CHUNK[kind]
        if radius is None:
            self.tile = max(1, min(height, 512 // width)), width
            self.seen = size
        else:
            self.tile = _TILE[kind]
            self.seen = self.tile[0] + 2 * radius, self.tile[1] + 2 * radius
        self.tiles = math.ceil(height / self.tile[0]), math.ceil(width / self.tile[1])
        self.num_queries = self.tile[0] * self.tile[1]
        self.num_keys = self.seen[0] * self.seen[1]

    def query_rows(self, chunk: Chunk) -> int:
        """Rows of queries in a strip, those below the image included."""
        return chunk.num_rows * self.tile[0]

    def key_rows(self, chunk: Chunk) -> int:
        """Rows of keys in a strip, those outside the image included."""
        return self.seen[0] + (chunk.num_rows - 1) * self._down

    def query_tiles(self, strips: Tensor) -> Tensor:
        """Strips (S, C, rows, 1, columns) → (S, rows of tiles, C, queries of a tile), a view."""
        return _tiles(strips, self.tile[0], self.tile[0])

    def key_tiles(self, strips: Tensor) -> Tensor:
        """Strips (S, C, rows, N, columns) → (S, rows of tiles, C, keys of a tile), a view.

        A tile's keys are in the order rows, references, columns. Those of neighbours overlap.
        """
        return _tiles(strips, self.seen[0], self._down)

    def same_queries(self, chunk: Chunk, images: Tensor, strips: Tensor) -> Iterator[Same]:
        """What of images (B, N, C, H, W) and strips (S, C, rows, N, columns) are the same queries.

        Yields:
            An item for each column of tiles.
        """
        return self._same(chunk, images, strips, chunk.rows.start * self.tile[0], 0)

    def same_keys(self, chunk: Chunk, images: Tensor, strips: Tensor) -> Iterator[Same]:
        """What of images and strips are the same keys, as `same_queries`."""
        margin = self.radius or 0
        return self._same(chunk, images, strips, chunk.rows.start * self._down - margin, margin)

    def chunks(self, batch: int, numbers: tuple[int, int], itemsize: int) -> Iterator[Chunk]:
        """All tiles of a batch, in ranges that fit the working memory.

        Args:
            batch: number of images.
            numbers: how many numbers of this size a tile needs, and a row of keys of a strip.
            itemsize: bytes of a number.
        """
        rows, columns = self.tiles
        tile, row = numbers
        room = self._room // itemsize - (self.seen[0] - self._down) * row
        down = _share(rows, room // (tile + self._down * row))
        if self.radius is None:
            down = 1
        else:
            down = max(down, min(rows, math.ceil(_LEAST_ROWS / self.tile[0])))
        strip = down * tile + (self.seen[0] + (down - 1) * self._down) * row
        strips = max(1, self._room // itemsize // strip)
        across = _share(columns, strips) if down == rows else 1
        deep = _share(batch, strips // columns) if down == rows and across == columns else 1
        for first in range(0, batch, deep):
            for left in range(0, columns, across):
                for top in range(0, rows, down):
                    yield Chunk(
                        slice(first, min(first + deep, batch)),
                        slice(top, min(top + down, rows)),
                        slice(left, min(left + across, columns)),
                    )

    def window_mask(self, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """(queries of a tile, *seen): 0 within the query's window, else `OUTSIDE`."""
        if self.radius is None:
            return None
        away = [
            (torch.arange(seen, device=device) - torch.arange(tile, device=device)[:, None]).sub_(
                self.radius
            )
            for seen, tile in zip(self.seen, self.tile, strict=True)
        ]
        down, across = away[0].abs()[:, None, :, None], away[1].abs()[None, :, None, :]
        if self.window == "disc":
            inside = down.square() + across.square() < self.radius**2
        else:
            inside = torch.maximum(down, across) <= self.radius
        return torch.where(inside, 0.0, OUTSIDE).flatten(0, 1).to(dtype)

    def own_windows(self, scores: Tensor) -> Tensor:
        """(T, queries, seen keys) → (T, tile height, tile width, 2r+1, 2r+1): a view."""
        assert self.radius is not None
        side, seen = 2 * self.radius + 1, self.seen[1]
        tiles, query, _ = scores.stride()
        return scores.as_strided(
            (len(scores), *self.tile, side, side),
            (tiles, self.tile[1] * query + seen, query + 1, seen, 1),
            scores.storage_offset(),
        )

    @property
    def _down(self) -> int:
        """Rows between the keys of a tile and those of the tile below it."""
        return 0 if self.radius is None else self.tile[0]

    def _same(
        self, chunk: Chunk, images: Tensor, strips: Tensor, top: int, margin: int
    ) -> Iterator[Same]:
        height, width = self.size
        columns = range(chunk.columns.start, chunk.columns.stop)
        each = torch.unflatten(strips, 0, (-1, len(columns)))
        first, last = max(top, 0), min(top + strips.shape[2], height)
        above, below = first - top, last - top
        for n, column in enumerate(columns):
            whole, begin = each[:, n], column * self.tile[1] - margin
            left, right = max(begin, 0), min(begin + strips.shape[4], width)
            image = images[chunk.batch, :, :, first:last, left:right].permute(0, 2, 3, 1, 4)
            left, right = left - begin, right - begin
            outside = []
            if above:
                outside.append(whole[:, :, :above])
            if below < strips.shape[2]:
                outside.append(whole[:, :, below:])
            if left:
                outside.append(whole[..., :left])
            if right < strips.shape[4]:
                outside.append(whole[..., right:])
            yield Same(image, whole[:, :, above:below, :, left:right], outside)


def _tiles(strips: Tensor, height: int, down: int) -> Tensor:
    """Strips (S, C, rows, N, columns) → (S, rows of tiles, C, height · N · columns), a view."""
    strip, channel, row, _, column = strips.stride()
    count, channels, rows, references, columns = strips.shape
    return strips.as_strided(
        (count, (rows - height) // down + 1 if down else 1, channels,
         height * references * columns),
        (strip, down * row, channel, column),
        strips.storage_offset(),
    )  # fmt: skip


def _share(total: int, most: int) -> int:
    """The size of equal shares of `total`, at most `most` (at least 1)."""
    return math.ceil(total / math.ceil(total / max(1, most)))

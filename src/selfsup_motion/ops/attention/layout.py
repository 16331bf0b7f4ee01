"""How an image of queries is cut into tiles, and which keys the queries of a tile share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Window = Literal["square", "disc"]

OUTSIDE = -1e30
"""Added to the score of a key that takes no part. Finite: a row of only these makes no NaN."""

_TILE = 8
# Working memory of one chunk, in bytes. On a CPU the chunk should stay in the caches.
_CHUNK = {"cpu": 8 << 20, "other": 256 << 20}


class Chunk(NamedTuple):
    """A range of batch items, of rows of tiles and of columns of tiles."""

    batch: slice
    rows: slice
    columns: slice

    @property
    def num_tiles(self) -> int:
        """Number of tiles."""
        return math.prod(part.stop - part.start for part in self)


class Layout:
    """Tiles of queries, and for each tile the rectangle of keys that its windows cover.

    The scores of a tile are one dense matrix product. With 8 × 8 queries and windows of 13 × 13, a
    tile covers 20 × 20 keys: of the products, 42 % are needed, the others are masked; that costs
    less than anything that computes only the needed ones. Images are held channel last ("grids"),
    those of keys with a margin, so that a tile's keys are a strided view.

    Args:
        size: (height, width) of the images, in cells.
        radius: of the windows, in cells; None: every query sees all keys.
        window: "square", or "disc": Euclidean distance < radius.
    """

    def __init__(self, size: tuple[int, int], radius: int | None, window: Window) -> None:
        self.size = height, width = size
        self.radius = radius
        if radius is None:
            self.tile = max(1, min(height, 512 // width)), width
            self.seen = size
        else:
            self.tile = _TILE, _TILE
            self.seen = _TILE + 2 * radius, _TILE + 2 * radius
        self.tiles = math.ceil(height / self.tile[0]), math.ceil(width / self.tile[1])
        self.window: Window = window
        self.num_queries = self.tile[0] * self.tile[1]
        self.num_keys = self.seen[0] * self.seen[1]

    def query_grid(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, C, H, W) → (B, rows, columns, C), padded to whole tiles."""
        grid = _channel_last(images).to(dtype)
        if grid.shape[1:3] == self._padded:
            return grid.contiguous()
        padded = self.empty_query_grid(images, dtype).zero_()
        padded[:, : self.size[0], : self.size[1]] = grid
        return padded

    def empty_query_grid(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """What `query_grid` returns, uninitialised; of the images, only the shape matters."""
        return images.new_empty((len(images), *self._padded, images.shape[1]), dtype=dtype)

    def from_query_grid(self, grid: Tensor) -> Tensor:
        """(B, rows, columns, C) → (B, C, H, W)."""
        return grid[:, : self.size[0], : self.size[1]].permute(0, 3, 1, 2)

    def key_grid(self, images: tuple[Tensor, ...], dtype: torch.dtype, fill: float = 0.0) -> Tensor:
        """Images (B, N, C_i, H, W) → (B, N, rows, columns, Σ C_i), with a margin around them."""
        batch, count = images[0].shape[:2]
        channels = [image.shape[2] for image in images]
        margin = self.radius or 0
        height, width = (
            (n + 2 * margin for n in self._padded) if self.radius is not None else self.size
        )
        grid = images[0].new_empty((batch, count, height, width, sum(channels)), dtype=dtype)
        top, left = margin + self.size[0], margin + self.size[1]
        for border in (
            grid[:, :, :margin],
            grid[:, :, top:],
            grid[..., :margin, :],
            grid[..., left:, :],
        ):
            border.fill_(fill)
        inner = self._inner(grid)
        for image, first in zip(images, accumulate(channels, initial=0), strict=False):
            target = inner[..., first : first + image.shape[2]]
            target.copy_(_channel_last(image.flatten(0, 1)).view(target.shape))
        return grid

    def from_key_grid(self, grid: Tensor) -> Tensor:
        """(B, N, rows, columns, C) → (B, N, C, H, W)."""
        return self._inner(grid).permute(0, 1, 4, 2, 3)

    def query_tiles(self, grid: Tensor) -> Tensor:
        """(B, rows, columns, C) → (B, tile rows, tile columns, height, width, C), a view."""
        tiled = torch.unflatten(grid, 2, (self.tiles[1], -1))
        return torch.unflatten(tiled, 1, (self.tiles[0], -1)).transpose(2, 3)

    def key_tiles(self, grid: Tensor) -> Tensor:
        """(B, N, rows, columns, C) → (B, tile rows, tile columns, N, *seen, C), a view.

        The keys of neighbouring tiles overlap.
        """
        batch, references, row, column, channel = grid.stride()
        down = 0 if self.radius is None else self.tile[0] * row
        across = 0 if self.radius is None else self.tile[1] * column
        return grid.as_strided(
            (len(grid), *self.tiles, grid.shape[1], *self.seen, grid.shape[-1]),
            (batch, down, across, references, row, column, channel),
        )

    def key_pieces(self, grid: Tensor) -> list[tuple[Tensor, slice, slice]]:
        """A key grid cut for `add_key_tiles`: the pieces of one view do not overlap.

        Returns:
            Views (B, tile rows, tile columns, N, rows, columns, C) and what they are of a tile.
        """
        tiles = self.key_tiles(grid)
        cuts = [[slice(n, n + tile) for n in range(0, seen, tile)]
                for seen, tile in zip(self.seen, self.tile, strict=True)]  # fmt: skip
        return [(tiles[..., y, x, :], y, x) for y in cuts[0] for x in cuts[1]]

    def add_key_tiles(
        self, pieces: list[tuple[Tensor, slice, slice]], chunk: Chunk, tiles: Tensor
    ) -> None:
        """Add to a key grid, in place, what the tiles of a chunk say of it.

        This is the transpose of `key_tiles`.

        Args:
            pieces: of the grid.
            chunk: which tiles.
            tiles: (tiles of the chunk, N · seen keys, C).
        """
        tiles = torch.unflatten(tiles, 1, (-1, *self.seen))
        for view, y, x in pieces:
            part = view[chunk]
            part.add_(tiles[:, :, y, x].view(part.shape))

    def chunks(self, batch: int, bytes_per_tile: int, device: torch.device) -> Iterator[Chunk]:
        """All tiles of a batch, in ranges that fit the working memory."""
        rows, columns = self.tiles
        room = max(1, _CHUNK["cpu" if device.type == "cpu" else "other"] // bytes_per_tile)
        if self.radius is None:
            room = 1  # all tiles share their keys; one at a time, they need no copy of them
        across = _share(columns, room)
        down = _share(rows, room // columns) if across == columns else 1
        deep = _share(batch, room // (rows * columns)) if down == rows else 1
        for first in range(0, batch, deep):
            for top in range(0, rows, down):
                for left in range(0, columns, across):
                    yield Chunk(
                        slice(first, min(first + deep, batch)),
                        slice(top, min(top + down, rows)),
                        slice(left, min(left + across, columns)),
                    )

    def window_mask(self, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """(queries of a tile, seen keys): 0 within the query's window, else `OUTSIDE`."""
        if self.radius is None:
            return None
        query = torch.arange(_TILE, device=device) + self.radius
        away = (torch.arange(self.seen[0], device=device) - query[:, None]).abs()
        down, across = away[:, None, :, None], away[None, :, None, :]
        if self.window == "disc":
            inside = down.square() + across.square() < self.radius**2
        else:
            inside = torch.maximum(down, across) <= self.radius
        mask = torch.where(inside, 0.0, OUTSIDE)
        return mask.reshape(self.num_queries, self.num_keys).to(dtype)

    def own_windows(self, scores: Tensor) -> Tensor:
        """(T, queries, seen keys) → (T, tile height, tile width, 2r+1, 2r+1): a view."""
        assert self.radius is not None
        side, seen = 2 * self.radius + 1, self.seen[1]
        tiles, query, _ = scores.stride()
        return scores.as_strided(
            (len(scores), *self.tile, side, side),
            (tiles, _TILE * query + seen, query + 1, seen, 1),
        )

    @property
    def _padded(self) -> tuple[int, int]:
        return self.tiles[0] * self.tile[0], self.tiles[1] * self.tile[1]

    def _inner(self, grid: Tensor) -> Tensor:
        """What of a key grid is image."""
        margin = self.radius or 0
        height, width = self.size
        return grid[:, :, margin : margin + height, margin : margin + width]


def _share(total: int, most: int) -> int:
    """The size of equal shares of `total`, at most `most` (at least 1)."""
    return math.ceil(total / math.ceil(total / max(1, most)))


def _channel_last(images: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H, W, C), contiguous."""
    last = images.permute(0, 2, 3, 1)
    if last.is_contiguous() or not images.is_contiguous():
        return last.contiguous()
    out = torch.empty_like(last, memory_format=torch.contiguous_format)
    # PyTorch transposes matrices several times faster than it permutes anything else
    for target, image in zip(out.flatten(1, 2), images.flatten(2), strict=True):
        target.copy_(image.t())
    return out

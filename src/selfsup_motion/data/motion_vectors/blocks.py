"""The motion vectors of a frame, block by block, and maps made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["I", "P", "B"]
KINDS: tuple[Kind, ...] = ("I", "P", "B")
"""Frames that are coded by themselves, that build on earlier frames, and that may build on earlier
and on later ones."""
_FIELDS = ("w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")


@dataclass(frozen=True)
class FrameVectors:
    """The blocks of a frame that are predicted from an earlier frame.

    Attributes:
        kind: of the frame.
        blocks: (M, 6) int16: left, top, width and height in pixels of the frame as coded, and how
            far the block has moved since the earlier frame, right and down, in 1/`scale` pixels.
        scale: parts of a pixel that vectors are given in.
        distance: how many frames ago the last I or P frame was, in the order of display. Vectors
            of H.264 may refer to still earlier frames, which the decoder does not tell.
        size: (height, width) of the frame as coded.
        quarters: turns of 90 degrees, counter-clockwise, by which it is displayed, 0 to 3.
    """

    kind: Kind
    blocks: NDArray[np.int16]
    scale: int
    distance: int
    size: tuple[int, int]
    quarters: int = 0


def past_blocks(vectors: NDArray[np.void]) -> tuple[NDArray[np.int16], int]:
    """The blocks of FFmpeg's records that are predicted from an earlier frame.

    Args:
        vectors: (M,) as PyAV gives them, with the fields of FFmpeg's AVMotionVector.

    Returns:
        `FrameVectors.blocks`, and `FrameVectors.scale`.

    Raises:
        ValueError: vectors of different scales.
    """
    past = vectors["source"] < 0
    fields = {name: vectors[name][past] for name in _FIELDS}
    blocks = np.empty((len(fields["w"]), 6), np.int16)
    if not len(blocks):
        return blocks, 1
    scale = int(fields["motion_scale"][0])
    if (fields["motion_scale"] != scale).any():
        raise ValueError("its vectors have different scales")
    blocks[:, 0] = fields["dst_x"] - (fields["w"] >> 1)
    blocks[:, 1] = fields["dst_y"] - (fields["h"] >> 1)
    blocks[:, 2], blocks[:, 3] = fields["w"], fields["h"]
    # FFmpeg leads from a block to where it came from
    blocks[:, 4], blocks[:, 5] = -fields["motion_x"], -fields["motion_y"]
    return blocks, scale


def vector_map(
    vectors: FrameVectors, *, cell: int = 1, published: bool = False
) -> NDArray[np.float32]:
    """How far the pixels of a frame have moved in one frame's time.

    Pixels have the vector of their block. It is 0 in blocks that are coded by themselves, and where
    a vector leads outside of the frame.

    Args:
        vectors: of the frame.
        cell: take the pixel in the middle of every cell × cell pixels: `map[cell // 2::cell]`.
        published: as CMD's code has them: whole pixels, cut off towards 0, since the frame that
            they refer to, however long ago that was shown. Otherwise parts of pixels count, and
            vectors are divided by `vectors.distance`.

    Returns:
        (2, h, w) float32, right and down, in pixels of the frame at its coded size, turned as it is
        displayed.
    """
    height, width = vectors.size
    rows, columns = (-(-(side - cell // 2) // cell) for side in (height, width))
    found = np.zeros((2, max(rows, 0), max(columns, 0)), np.float32)
    whole = np.trunc(vectors.blocks[:, 4:] / vectors.scale).astype(np.int64)
    moved = whole if published else vectors.blocks[:, 4:] / (vectors.scale * vectors.distance)
    for places, (y, x) in _cells(vectors.blocks, cell):
        dx, dy = whole[places, 0, None, None], whole[places, 1, None, None]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        inside &= (y - dy >= 0) & (y - dy < height) & (x - dx >= 0) & (x - dx < width)
        block, row, column = np.nonzero(inside)
        at = y[block, row, 0] // cell, x[block, 0, column] // cell
        found[:, at[0], at[1]] = moved[places[block]].T
    return _turned(found, vectors.quarters)


def _cells(
    blocks: NDArray[np.int16], cell: int
) -> Iterator[tuple[NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Blocks of the same size together: their numbers (K,), and the pixels (K, n, 1) and (K, 1, m)
    in the middles of cells that lie in each; those outside of a block are -1."""
    for width, height in np.unique(blocks[:, 2:4], axis=0).tolist():
        places = np.flatnonzero((blocks[:, 2] == width) & (blocks[:, 3] == height))
        pixels = []
        for begin, length in ((blocks[places, 1], height), (blocks[places, 0], width)):
            first = -(-(begin.astype(np.int64) - cell // 2) // cell) * cell + cell // 2
            found = first[:, None] + cell * np.arange(-(-length // cell))
            pixels.append(np.where(found < begin[:, None] + length, found, -1))
        yield places, (pixels[0][:, :, None], pixels[1][:, None, :])


def _turned(vectors: NDArray[np.float32], quarters: int) -> NDArray[np.float32]:
    """Turn a map counter-clockwise, and its vectors along with it."""
    turned = np.rot90(vectors, quarters, axes=(1, 2))
    for _ in range(quarters):
        turned = np.stack([turned[1], -turned[0]])
    return np.ascontiguousarray(turned)

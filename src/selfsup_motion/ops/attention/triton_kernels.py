"""Triton kernels of restricted attention: one pass over each window, forwards and backwards.

A program has a tile of TILE_H × TILE_W queries (`key_gradients`: keys), and goes through the
rectangle of cells that their windows cover, SPAN cells at a time. Scores of a tile and a span are
one matrix product, of which those outside of a query's own window are masked. Nothing of the size
of a window leaves the chip: the softmax is summed up on the way and its normaliser stored, from
which the backward pass computes the weights again. Every number is written by one program, in one
order, so that results repeat.

All images are contiguous with channels last: query (B, H, W, C), key (B, N, H, W, C), value
(B, N, H, W, D), with C and D of any size, filled up with zeros to CHANNELS and COPIED. Cells that
are equal modulo the dilation never meet the others. They are an image of their own, a *phase*, and
rows and columns of tiles and windows are counted in it.

This module imports triton; `launch` imports it with the first launch.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _phase(tile, height, width, dilation, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """Offset of the tile's phase, its first row and column in it, and the size of the phase."""
    down = tl.cdiv(tl.cdiv(height, dilation), TILE_H)
    across = tl.cdiv(tl.cdiv(width, dilation), TILE_W)
    phase = tile // (down * across)
    within = tile % (down * across)
    y, x = phase // dilation, phase % dilation
    rows, columns = tl.cdiv(height - y, dilation), tl.cdiv(width - x, dilation)
    return y, x, (within // across) * TILE_H, (within % across) * TILE_W, rows, columns


@triton.jit
def _rectangle(top, left, rows, columns, radius,
               TILE_H: tl.constexpr, TILE_W: tl.constexpr, CLIP: tl.constexpr):  # fmt: skip
    """First row and column of what the windows of a tile cover, and how many there are."""
    first_row, first_column = top - radius, left - radius
    last_row, last_column = top + TILE_H + radius, left + TILE_W + radius
    if CLIP:
        first_row, first_column = tl.maximum(first_row, 0), tl.maximum(first_column, 0)
        last_row, last_column = tl.minimum(last_row, rows), tl.minimum(last_column, columns)
    down, across = tl.maximum(last_row - first_row, 0), tl.maximum(last_column - first_column, 0)
    # never 0: it is divided by
    return first_row, first_column, down * across, tl.maximum(across, 1)


@triton.jit
def _cells(image, there, CHANNELS: tl.constexpr, C: tl.constexpr, places):
    """Channels (cells, CHANNELS) of cells of an image, zero where none is there."""
    channels = tl.arange(0, CHANNELS)
    mask = there[:, None] & (channels[None, :] < C)
    return tl.load(image + places[:, None] * C + channels[None, :], mask=mask, other=0.0)


@triton.jit
def _write(image, content, there, places, CHANNELS: tl.constexpr, C: tl.constexpr):
    """Write what `_cells` would read."""
    channels = tl.arange(0, CHANNELS)
    mask = there[:, None] & (channels[None, :] < C)
    tl.store(image + places[:, None] * C + channels[None, :], content, mask=mask)


@triton.jit
def _in_window(down, across, radius, DISC: tl.constexpr):
    """Whether cells so far apart, in cells of a phase, see each other."""
    if DISC:
        seen = down * down + across * across < radius * radius
    else:
        seen = (tl.abs(down) <= radius) & (tl.abs(across) <= radius)
    return seen


@triton.jit
def _times(a, b, PRECISION: tl.constexpr):
    """Product of a float32 matrix and one of any type, summed in float32.

    Two products with the halves of `a` are more exact than one in TF32, as fast, and need no copy
    of `b` in float32. In float16 they could overflow.
    """
    if b.dtype == tl.bfloat16:
        high = a.to(tl.bfloat16)
        low = (a - high.to(tl.float32)).to(tl.bfloat16)
        product = tl.dot(low, b, tl.dot(high, b))
    else:
        product = tl.dot(a, b.to(tl.float32), input_precision=PRECISION)
    return product


@triton.jit
def forward(query, key, value, out, normaliser, height, width, references, radius, dilation, scale,
            C: tl.constexpr, D: tl.constexpr, CHANNELS: tl.constexpr, COPIED: tl.constexpr,
            TILE_H: tl.constexpr, TILE_W: tl.constexpr, SPAN: tl.constexpr, ZERO: tl.constexpr,
            DISC: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Copies (B, H, W, D) and logs of the softmax's denominators (B, H, W), both float32.

    Grid (tiles, B). ZERO: cells outside the image take part, with a score and a value of zero.
    """
    off_y, off_x, top, left, rows, columns = _phase(
        tl.program_id(0), height, width, dilation, TILE_H, TILE_W
    )
    batch = tl.program_id(1).to(tl.int64)
    area = height * width
    i = tl.arange(0, TILE_H * TILE_W)
    y, x = top + i // TILE_W, left + i % TILE_W
    own = (y < rows) & (x < columns)
    place = (off_y + dilation * y) * width + off_x + dilation * x
    q = _cells(query + batch * area * C, own, CHANNELS, C, place)
    highest = tl.full([TILE_H * TILE_W], float("-inf"), tl.float32)
    total = tl.zeros([TILE_H * TILE_W], tl.float32)
    copied = tl.zeros([TILE_H * TILE_W, COPIED], tl.float32)
    first_y, first_x, count, across = _rectangle(
        top, left, rows, columns, radius, TILE_H, TILE_W, not ZERO
    )
    for n in range(references):
        reference = (batch * references + n) * area
        for start in range(0, count, SPAN):
            j = start + tl.arange(0, SPAN)
            key_y, key_x = first_y + j // across, first_x + j % across
            there = j < count
            seen = there[None, :] & _in_window(
                y[:, None] - key_y[None, :], x[:, None] - key_x[None, :], radius, DISC
            )
            if ZERO:
                there &= (key_y >= 0) & (key_y < rows) & (key_x >= 0) & (key_x < columns)
            key_place = (off_y + dilation * key_y) * width + off_x + dilation * key_x
            k = _cells(key + reference * C, there, CHANNELS, C, key_place)
            v = _cells(value + reference * D, there, COPIED, D, key_place)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (
                scale * 1.4426950408889634
            )
            scores = tl.where(seen, scores, float("-inf"))
            new = tl.maximum(highest, tl.max(scores, 1))
            # a query may have seen nothing so far: 0 instead of -inf, which has no differences
            level = tl.where(new == float("-inf"), 0.0, new)
            weights = tl.exp2(scores - level[:, None])
            shrink = tl.exp2(highest - level)
            total = total * shrink + tl.sum(weights, 1)
            copied = copied * shrink[:, None]
            copied += _times(weights, v, PRECISION)
            highest = new
    total = tl.where(own, total, 1.0)
    _write(out + batch * area * D, copied / total[:, None], own, place, COPIED, D)
    tl.store(normaliser + batch * area + place, (highest + tl.log2(total)) * 0.6931471805599453,
             mask=own)  # fmt: skip


@triton.jit
def query_gradient(query, key, value, incoming, normaliser, along, out, height, width, references,
                    radius, dilation, scale,
                    C: tl.constexpr, D: tl.constexpr, CHANNELS: tl.constexpr, COPIED: tl.constexpr,
                    TILE_H: tl.constexpr, TILE_W: tl.constexpr, SPAN: tl.constexpr,
                    DISC: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Gradients (B, H, W, C) of the queries, float32. Grid (tiles, B).

    `incoming` (B, H, W, D) float32 is the gradient of the copies, `along` (B, H, W) its product
    with them. Cells outside the image have no part in it, whatever the border: their scores are
    constants.
    """
    off_y, off_x, top, left, rows, columns = _phase(
        tl.program_id(0), height, width, dilation, TILE_H, TILE_W
    )
    batch = tl.program_id(1).to(tl.int64)
    area = height * width
    i = tl.arange(0, TILE_H * TILE_W)
    y, x = top + i // TILE_W, left + i % TILE_W
    own = (y < rows) & (x < columns)
    place = (off_y + dilation * y) * width + off_x + dilation * x
    q = _cells(query + batch * area * C, own, CHANNELS, C, place)
    grad = _cells(incoming + batch * area * D, own, COPIED, D, place)
    norm = tl.load(normaliser + batch * area + place, mask=own, other=0.0) * 1.4426950408889634
    mean = tl.load(along + batch * area + place, mask=own, other=0.0)
    found = tl.zeros([TILE_H * TILE_W, CHANNELS], tl.float32)
    first_y, first_x, count, across = _rectangle(
        top, left, rows, columns, radius, TILE_H, TILE_W, True
    )
    for n in range(references):
        reference = (batch * references + n) * area
        for start in range(0, count, SPAN):
            j = start + tl.arange(0, SPAN)
            key_y, key_x = first_y + j // across, first_x + j % across
            there = j < count
            seen = own[:, None] & there[None, :] & _in_window(
                y[:, None] - key_y[None, :], x[:, None] - key_x[None, :], radius, DISC
            )  # fmt: skip
            key_place = (off_y + dilation * key_y) * width + off_x + dilation * key_x
            k = _cells(key + reference * C, there, CHANNELS, C, key_place)
            v = _cells(value + reference * D, there, COPIED, D, key_place)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (
                scale * 1.4426950408889634
            )
            weights = tl.exp2(tl.where(seen, scores - norm[:, None], float("-inf")))
            change = _times(grad, tl.trans(v), PRECISION)
            change = weights * (change - mean[:, None])
            found += _times(change, k, PRECISION)
    _write(out + batch * area * C, found * scale, own, place, CHANNELS, C)


@triton.jit
def key_gradients(query, key, value, incoming, normaliser, along, key_out, value_out, height,
                   width, references, radius, dilation, scale,
                   C: tl.constexpr, D: tl.constexpr, CHANNELS: tl.constexpr, COPIED: tl.constexpr,
                   TILE_H: tl.constexpr, TILE_W: tl.constexpr, SPAN: tl.constexpr,
                   DISC: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Gradients (B, N, H, W, C) of keys and (B, N, H, W, D) of values, float32. Grid (tiles, B·N).

    A tile of keys goes through the queries that see it: windows are symmetric.
    """
    off_y, off_x, top, left, rows, columns = _phase(
        tl.program_id(0), height, width, dilation, TILE_H, TILE_W
    )
    reference = tl.program_id(1).to(tl.int64)
    batch = reference // references
    area = height * width
    i = tl.arange(0, TILE_H * TILE_W)
    y, x = top + i // TILE_W, left + i % TILE_W
    own = (y < rows) & (x < columns)
    place = (off_y + dilation * y) * width + off_x + dilation * x
    k = _cells(key + reference * area * C, own, CHANNELS, C, place)
    v = _cells(value + reference * area * D, own, COPIED, D, place).to(tl.float32)
    key_found = tl.zeros([TILE_H * TILE_W, CHANNELS], tl.float32)
    value_found = tl.zeros([TILE_H * TILE_W, COPIED], tl.float32)
    first_y, first_x, count, across = _rectangle(
        top, left, rows, columns, radius, TILE_H, TILE_W, True
    )
    for start in range(0, count, SPAN):
        j = start + tl.arange(0, SPAN)
        query_y, query_x = first_y + j // across, first_x + j % across
        there = j < count
        seen = own[:, None] & there[None, :] & _in_window(
            y[:, None] - query_y[None, :], x[:, None] - query_x[None, :], radius, DISC
        )  # fmt: skip
        query_place = (off_y + dilation * query_y) * width + off_x + dilation * query_x
        q = _cells(query + batch * area * C, there, CHANNELS, C, query_place)
        grad = _cells(incoming + batch * area * D, there, COPIED, D, query_place)
        norm = tl.load(normaliser + batch * area + query_place, mask=there, other=0.0)
        mean = tl.load(along + batch * area + query_place, mask=there, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision=PRECISION) * (scale * 1.4426950408889634)
        scores -= norm[None, :] * 1.4426950408889634
        weights = tl.exp2(tl.where(seen, scores, float("-inf")))
        value_found += _times(weights, grad, PRECISION)
        change = tl.dot(v, tl.trans(grad), input_precision=PRECISION)
        change = weights * (change - mean[None, :])
        key_found += _times(change, q, PRECISION)
    _write(key_out + reference * area * C, key_found * scale, own, place, CHANNELS, C)
    _write(value_out + reference * area * D, value_found, own, place, COPIED, D)

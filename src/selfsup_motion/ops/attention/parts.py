"""Attention over references that come in parts, joined afterwards as if they had come at once.

For propagation over a video: contexts with windows of their own, or more references than fit into
memory. Without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsup_motion.ops.attention.autograd import highest
from selfsup_motion.ops.attention.fused import fused_attention, obstacle
from selfsup_motion.ops.attention.layout import Layout, Window
from selfsup_motion.ops.attention.phases import Border, join_phases, split_phases
from selfsup_motion.ops.attention.tiles import Tiles
from selfsup_motion.ops.attention.window import check_window, references


@torch.no_grad()
def attention_part(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int | None,
    *,
    dilation: int = 1,
    scale: float = 1.0,
    border: Border = "exclude",
    window: Window = "square",
) -> tuple[Tensor, Tensor]:
    """`restricted_attention` to some of the references.

    Args:
        query: and all others as of `restricted_attention`.

    Returns:
        The copy (B, D, H, W) and the log of the softmax's denominator (B, 1, H, W), in float32 or
        wider; for `join_parts`.
    """
    key, value = references(query, key, value)
    check_window(radius, dilation, border, window, None)
    if query.device.type == "cuda" and obstacle(query, key, value, None) is None:
        return fused_attention(query, key, value, radius, dilation, scale, border, window)
    inputs = split_phases(query, key, value, dilation, border)
    layout = Layout((inputs.query.shape[-2], inputs.query.shape[-1]), radius, window, query.device)
    with torch.autocast(query.device.type, enabled=False):
        copy, normaliser = Tiles(layout, inputs, scale).copied_and_normaliser()
    size = query.shape[-2:]
    return join_phases(copy, dilation, size), join_phases(normaliser, dilation, size)


def join_parts(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """One softmax over all parts.

    Args:
        parts: copies (B, D, H, W) and normalisers (B, 1, H, W) of `attention_part`.

    Returns:
        (B, D, H, W), equal to `restricted_attention` to all references at once.
    """
    shares = torch.softmax(torch.stack([normaliser for _, normaliser in parts]), dim=0)
    return (shares * torch.stack([copy for copy, _ in parts])).sum(0)


@torch.no_grad()
def best_matches(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int | None,
    k: int,
    *,
    dilation: int = 1,
    scale: float = 1.0,
    border: Border = "exclude",
    window: Window = "square",
) -> tuple[Tensor, Tensor]:
    """The `k` positions of the window, over all references, with the highest scores.

    Args:
        query: and all others as of `restricted_attention`.

    Returns:
        Scores (B, k, H, W) in descending order and values (B, k, D, H, W), in float32 or wider; for
        `join_matches`. Excluded positions, which come up where a window has fewer than `k` others,
        have scores of -1e30 or less. `k` is lowered to the number of positions that there are.
    """
    key, value = references(query, key, value)
    check_window(radius, dilation, border, window, k)
    inputs = split_phases(query, key, value, dilation, border)
    layout = Layout((inputs.query.shape[-2], inputs.query.shape[-1]), radius, window, query.device)
    channels = value.shape[2]
    k = min(k, key.shape[1] * layout.num_keys)
    tiles = Tiles(layout, inputs, scale)
    best, values = tiles.images(k), tiles.images(k * channels)
    with torch.autocast(query.device.type, enabled=False):
        for chunk, scores, near in tiles.scored():
            highs, where = highest(scores, k)  # (S, R, queries, k)
            tiles.store(chunk, highs.transpose(2, 3), best)
            index = where.transpose(2, 3).flatten(2)[:, :, None].expand(-1, -1, channels, -1)
            found = torch.unflatten(near.gather(3, index), 3, (k, -1))  # (S, R, D, k, queries)
            tiles.store(chunk, found.transpose(2, 3).flatten(2, 3), values)
    best, values = (join_phases(x, dilation, query.shape[-2:]) for x in (best, values))
    return best, torch.unflatten(values, 1, (k, channels))


def join_matches(matches: Sequence[tuple[Tensor, Tensor]], k: int) -> Tensor:
    """Copy from the `k` best of the matches of several parts, with softmax weights.

    Args:
        matches: scores (B, k_i, H, W) and values (B, k_i, D, H, W) of `best_matches`.
        k: how many of them take part.

    Returns:
        (B, D, H, W), equal to `restricted_attention` with `top_k=k` to all references at once.
    """
    scores = torch.cat([scores for scores, _ in matches], dim=1)
    values = torch.cat([values for _, values in matches], dim=1)
    best, where = scores.topk(min(k, scores.shape[1]), dim=1)
    index = where[:, :, None].expand(-1, -1, values.shape[2], -1, -1)
    return (torch.softmax(best, dim=1)[:, :, None] * values.gather(1, index)).sum(1)

"""Attention to frames long ago, whose content has moved out of any window (MAST, section 3.3).

Two steps: a coarse search in a dilated window finds how far each pixel has moved, then a dense
window is laid around that place. Places lie between pixels; keys and values there are bilinear.
Without gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_motion.ops.attention import Border, local_correlation
from selfsup_motion.ops.attention_layout import OUTSIDE, Window

_QUERIES = 512  # at a time


@torch.no_grad()
def expected_displacement(
    query: Tensor, key: Tensor, radius: int, dilation: int, *, scale: float = 1.0
) -> Tensor:
    """Where pixels have been, to the accuracy of a dilated window.

    Args:
        query: (1, C, H, W) float.
        key: (1, C, H, W) float.
        radius: of the square window, in steps of `dilation`.
        dilation: in pixels.
        scale: factor on the dot products.

    Returns:
        (2, H, W): mean of the window's displacements x, y in pixels, weighted by the softmax over
        its scores. Positions outside the image take part with a score of 0.
    """
    scores = local_correlation(query, key, radius, dilation=dilation)[0].mul_(scale)
    weights = torch.softmax(scores.to(torch.promote_types(scores.dtype, torch.float32)), 0)
    side = 2 * radius + 1
    steps = torch.arange(-radius, radius + 1, device=query.device, dtype=weights.dtype) * dilation
    grid = weights.view(side, side, *weights.shape[1:])
    x = torch.einsum("ijhw,j->hw", grid, steps)
    y = torch.einsum("ijhw,i->hw", grid, steps)
    return torch.stack([x, y])


@torch.no_grad()
def distant_part(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    displacement: Tensor,
    radius: int,
    *,
    scale: float = 1.0,
    border: Border = "exclude",
    window: Window = "square",
) -> tuple[Tensor, Tensor]:
    """Attention to a window around displaced places, for `attention_parts.join_parts`.

    Args:
        query: (1, C, H, W) float.
        key: (1, C, H, W) float.
        value: (1, D, H, W) float.
        displacement: (2, H, W) x, y in pixels.
        radius: and all others as of `restricted_attention`.

    Returns:
        The copy (1, D, H, W) and the log of the softmax's denominator (1, 1, H, W).
    """
    copy = value.new_empty((value.shape[1], query[0, 0].numel()), dtype=torch.float32)
    normaliser = copy.new_empty((1, copy.shape[1]))
    values = value[0].flatten(1).float()
    for part in _around(query, key, displacement, radius, scale, border, window):
        norm = part.scores.logsumexp(1, keepdim=True)
        weights = (part.scores - norm).exp()
        corners = part.blend(weights, transposed=True)
        copy[:, part.queries] = torch.einsum("dqp,qp->dq", part.gather(values), corners)
        normaliser[:, part.queries] = norm.T
    size = query.shape[-2:]
    return copy.view(1, -1, *size), normaliser.view(1, 1, *size)


@torch.no_grad()
def distant_matches(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    displacement: Tensor,
    radius: int,
    k: int,
    *,
    scale: float = 1.0,
    border: Border = "exclude",
    window: Window = "square",
) -> tuple[Tensor, Tensor]:
    """The `k` best places of a window around displaced places, for `join_matches`.

    Args:
        query: and all others as of `distant_part`.

    Returns:
        Scores (1, k, H, W) in descending order and values (1, k, D, H, W).
    """
    k = min(k, (2 * radius + 1) ** 2)
    best = query.new_empty((k, query[0, 0].numel()), dtype=torch.float32)
    found = best.new_empty((k, value.shape[1], best.shape[1]))
    values = value[0].flatten(1).float()
    for part in _around(query, key, displacement, radius, scale, border, window):
        scores, where = part.scores.topk(k, dim=1)
        blended = part.blend(part.gather(values))  # (D, q, P)
        index = where.expand(len(blended), -1, -1)
        best[:, part.queries] = scores.T
        found[:, :, part.queries] = blended.gather(2, index).permute(2, 0, 1)
    size = query.shape[-2:]
    return best.view(1, k, *size), found.view(1, k, -1, *size)


class _Part(NamedTuple):
    """Some of the queries: scores (q, P) of the P places of the window around each.

    The places lie between the (2·radius + 2)² pixels `pixels` (q, side, side); `inside` tells which
    of them are in the image, `share` (2, q) how far x and y are towards the next pixel.
    """

    queries: slice
    scores: Tensor
    pixels: Tensor
    inside: Tensor
    share: Tensor

    def gather(self, images: Tensor) -> Tensor:
        """(D, H·W) → (D, q, side²): at the pixels, 0 outside the image."""
        return (images[:, self.pixels] * self.inside).flatten(2)

    def blend(self, pixels: Tensor, transposed: bool = False) -> Tensor:
        """(…, q, side²) at the pixels → (…, q, P) at the places, or the transpose of that."""
        return _blend(pixels, self.share, transposed)


def _blend(pixels: Tensor, share: Tensor, transposed: bool) -> Tensor:
    x, y = share[0, :, None, None], share[1, :, None, None]
    side = round(pixels.shape[-1] ** 0.5)
    grid = pixels.reshape(*pixels.shape[:-1], side, side)
    if not transposed:
        rows = grid[..., :-1, :] * (1 - y) + grid[..., 1:, :] * y
        places: Tensor = rows[..., :-1] * (1 - x) + rows[..., 1:] * x
        return places.flatten(-2)
    spread = grid.new_zeros((*grid.shape[:-2], side + 1, side + 1))
    for down, share_y in ((0, 1 - y), (1, y)):
        for right, share_x in ((0, 1 - x), (1, x)):
            spread[..., down : down + side, right : right + side] += grid * share_y * share_x
    return spread.flatten(-2)


def _around(
    query: Tensor,
    key: Tensor,
    displacement: Tensor,
    radius: int,
    scale: float,
    border: Border,
    window: Window,
) -> Iterator[_Part]:
    height, width = query.shape[-2:]
    device = query.device
    queries, keys = query[0].flatten(1).T.float() * scale, key[0].flatten(1).T.float()
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    places = (torch.stack([columns, rows]) + displacement).flatten(1)  # (2, HW)
    corners = places.floor()
    steps = torch.arange(-radius, radius + 2, device=device)
    disc = None
    if window == "disc":
        away = steps[:-1].square()
        disc = (away[:, None] + away >= radius**2).flatten()
    for start in range(0, height * width, _QUERIES):
        some = slice(start, min(start + _QUERIES, height * width))
        x = corners[0, some, None].long() + steps
        y = corners[1, some, None].long() + steps
        inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
        index = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None]
        inside = inside_y[:, :, None] & inside_x[:, None]
        products = torch.bmm(keys[index].flatten(1, 2), queries[some, :, None])[..., 0]
        share = (places - corners)[:, some]
        scores = _blend(products * inside.flatten(1), share, transposed=False)
        if border == "exclude":
            weight = _blend(inside.flatten(1).float(), share, transposed=False)
            scores = scores.masked_fill(weight < 1 - 1e-4, OUTSIDE)
        if disc is not None:
            scores = scores.masked_fill(disc, OUTSIDE)
        yield _Part(some, scores, index, inside, share)

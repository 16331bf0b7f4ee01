"""Attention to frames long ago, whose content has moved out of any window (MAST, section 3.3).

Two steps: a coarse search in a dilated window finds how far each pixel has moved, then a dense
window is laid around that place. Places lie between pixels; keys and values there are bilinear.
Without gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.attention.layout import OUTSIDE, Window
from selfsup_motion.ops.attention.phases import Border
from selfsup_motion.ops.attention.window import local_correlation

_TILE = 8  # windows whose first pixels are in one such square share a box of keys
_GROUP = 32  # queries of a box that are computed together
# Working memory, in bytes. On a CPU it should stay in the caches.
_BYTES = {"cpu": 16 << 20, "other": 256 << 20}


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
    count = query[0, 0].numel()
    copy = value.new_empty((count + 1, value.shape[1]), dtype=torch.float32)
    normaliser = copy.new_empty((count + 1, 1))
    with torch.autocast(query.device.type, enabled=False):
        for part in _parts(query, key, value, displacement, radius, scale, border, window):
            norm = part.scores.logsumexp(-1, keepdim=True)
            copy[part.queries] = part.copy((part.scores - norm).exp())
            normaliser[part.queries] = norm
    size = query.shape[-2:]
    return copy[:count].T.reshape(1, -1, *size), normaliser[:count].T.reshape(1, 1, *size)


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
    count = query[0, 0].numel()
    best = query.new_empty((count + 1, k), dtype=torch.float32)
    found = best.new_empty((count + 1, k, value.shape[1]))
    with torch.autocast(query.device.type, enabled=False):
        for part in _parts(query, key, value, displacement, radius, scale, border, window):
            best[part.queries], where = part.scores.topk(k, dim=-1)
            found[part.queries] = part.values(where)
    size = query.shape[-2:]
    scores, values = best[:count].T, found[:count].permute(1, 2, 0)
    return scores.reshape(1, k, *size), values.reshape(1, k, -1, *size)


class _Part(NamedTuple):
    """B queries each of n boxes: scores (n, B, P) of the P places of each one's window.

    The places lie between the (2·radius + 2)² pixels `pixels` (n, B, side²) of the K of a box,
    whose values are `box` (n, K, D), 0 outside the image. `share` (2, n, B) is how far x and y are
    towards the next pixel, `queries` (n, B) whose they are; slots that are left over have the
    number of queries there.
    """

    queries: Tensor
    scores: Tensor
    pixels: Tensor
    box: Tensor
    share: Tensor

    def copy(self, weights: Tensor) -> Tensor:
        """(n, B, P) → (n, B, D): the sum of the values of the places, with these weights."""
        spread = weights.new_zeros((*weights.shape[:2], self.box.shape[1]))
        spread.scatter_(2, self.pixels, _blend(weights, self.share, transposed=True))
        return torch.bmm(spread, self.box)

    def values(self, places: Tensor) -> Tensor:
        """(n, B, k) places → (n, B, k, D) their values."""
        side = round(self.pixels.shape[-1] ** 0.5)
        first = places + places // (side - 1)  # a row has a pixel more than places
        steps = torch.tensor([0, 1, side, side + 1], device=places.device)
        corners = self.pixels.gather(2, (first[..., None] + steps).flatten(2))
        index = corners.flatten(1)[..., None].expand(-1, -1, self.box.shape[-1])
        values = self.box.gather(1, index).view(*places.shape, 4, -1)
        x, y = self.share
        weights = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)
        return torch.einsum("nbkcd,nbc->nbkd", values, weights)


def _blend(pixels: Tensor, share: Tensor, transposed: bool) -> Tensor:
    """(n, B, side²) at the pixels → (n, B, P) at the places, or the transpose of that."""
    x, y = share[..., None, None]
    side = round(pixels.shape[-1] ** 0.5)
    grid = torch.unflatten(pixels, -1, (side, side))
    if not transposed:
        rows = torch.lerp(grid[..., :-1, :], grid[..., 1:, :], y)
        return torch.lerp(rows[..., :-1], rows[..., 1:], x).flatten(-2)
    right = F.pad(grid * x, (1, 0)) + F.pad(grid * (1 - x), (0, 1))
    spread = right.new_zeros((*grid.shape[:-2], side + 1, side + 1))
    torch.mul(right, 1 - y, out=spread[..., :-1, :])
    spread[..., 1:, :].addcmul_(right, y)
    return spread.flatten(-2)


def _parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    displacement: Tensor,
    radius: int,
    scale: float,
    border: Border,
    window: Window,
) -> Iterator[_Part]:
    """The queries, sorted by where they look: those that look into one box share its keys, and
    their scores are one matrix product."""
    height, width = query.shape[-2:]
    device, channels = query.device, query.shape[1]
    # one more, of zeros, for slots that are left over
    queries = F.pad(query[0].flatten(1).T.float() * scale, (0, 0, 0, 1))
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    places = (torch.stack([columns, rows]) + displacement).flatten(1).float()  # (2, HW)
    corners = places.floor()
    share = F.pad(places - corners, (0, 1))
    # all windows beyond the margin are alike: nothing of the image is in them
    margin = radius + 2
    last = torch.tensor([width, height], device=device)[:, None] + margin - 1
    cells = F.pad(torch.minimum(corners, last).clamp(min=-margin).long() + margin, (0, 1))
    tiles = cells // _TILE
    tiles_across, tiles_down = ((n + 2 * margin - 1) // _TILE + 1 for n in (width, height))
    members, boxes = _groups((tiles[1] * tiles_across + tiles[0])[:-1], tiles_across * tiles_down)

    side = _TILE + 2 * radius + 1
    memory = torch.cat([key[0], value[0]]).float().permute(1, 2, 0)
    before = margin + radius
    after = [(n - 1) * _TILE + side - before - size
             for n, size in ((tiles_across, width), (tiles_down, height))]  # fmt: skip
    memory = F.pad(memory, (0, 0, before, after[0], before, after[1])).contiguous()
    row, column, _ = memory.stride()
    views = memory.as_strided(
        (tiles_down, tiles_across, side, side, memory.shape[-1]),
        (_TILE * row, _TILE * column, row, column, 1),
    )
    steps = torch.arange(2 * radius + 2, device=device)
    outside = None
    if window == "disc":
        away = (steps[:-1] - radius).square()
        outside = (away[:, None] + away >= radius**2).flatten()

    room = _BYTES["cpu" if device.type == "cpu" else "other"]
    room = max(1, room // (4 * side**2 * (2 * _GROUP + memory.shape[-1])))
    for first in range(0, len(members), room):
        some, box = members[first : first + room], boxes[first : first + room]
        near = views[box // tiles_across, box % tiles_across].flatten(1, 2)  # (n, K, C + D)
        products = torch.bmm(queries[some], near[..., :channels].transpose(1, 2))
        x, y = (cells - tiles * _TILE)[:, some, None] + steps
        pixels = (y[..., :, None] * side + x[..., None, :]).flatten(-2)
        scores = _blend(products.gather(2, pixels), share[:, some], transposed=False)
        if border == "exclude":
            x, y = cells[:, some, None] + steps - before
            inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
            inside = (inside_y[..., :, None] & inside_x[..., None, :]).flatten(-2).float()
            weight = _blend(inside, share[:, some], transposed=False)
            scores.masked_fill_(weight < 1 - 1e-4, OUTSIDE)
        if outside is not None:
            scores.masked_fill_(outside, OUTSIDE)
        yield _Part(some, scores, pixels, near[..., channels:], share[:, some])


def _groups(boxes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Groups of at most `_GROUP` items of one box.

    Args:
        boxes: (N,) in [0, count), the box of each item.
        count: number of boxes.

    Returns:
        The items (groups, `_GROUP`) of each group, N where there is none, and its box (groups,).
    """
    order = boxes.argsort(stable=True)
    sizes = boxes.bincount(minlength=count)
    groups = -(-sizes // _GROUP)
    firsts = groups.cumsum(0) - groups
    sorted_boxes = boxes[order]
    rank = torch.arange(len(boxes), device=boxes.device) - (sizes.cumsum(0) - sizes)[sorted_boxes]
    members = torch.full((int(groups.sum()) * _GROUP,), len(boxes), device=boxes.device)
    members[firsts[sorted_boxes] * _GROUP + rank] = order
    numbers = torch.arange(count, device=boxes.device).repeat_interleave(groups)
    return members.view(-1, _GROUP), numbers

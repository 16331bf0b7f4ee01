"""Windows that are laid elsewhere, against sampling every place of every window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from selfsup_motion.ops.attention.distant import distant_matches, distant_part
from selfsup_motion.ops.attention.layout import OUTSIDE
from selfsup_motion.ops.attention.parts import join_matches


def sampled(images: Tensor, displacement: Tensor, radius: int) -> Tensor:
    """(1, C, H, W) → (C, H, W, P): bilinear, at the places of each pixel's window; 0 outside."""
    height, width = images.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    steps = torch.arange(-radius, radius + 1)
    x = (columns + displacement[0])[..., None, None] + steps
    y = (rows + displacement[1])[..., None, None] + steps[:, None]
    places = torch.stack(torch.broadcast_tensors(x, y), -1).flatten(2, 3)  # (H, W, P, 2)
    grid = 2 * places / torch.tensor([width - 1, height - 1]) - 1
    found = F.grid_sample(images, grid.reshape(1, height, -1, 2), align_corners=True)
    return found.view(images.shape[1], height, width, -1)


def everything(
    query: Tensor,
    key: Tensor,
    displacement: Tensor,
    radius: int,
    border: str,
    window: str,
) -> Tensor:
    """(H, W, P) scores, `OUTSIDE` where a place takes no part."""
    scores = (query[0][..., None] * sampled(key, displacement, radius)).sum(0)
    if border == "exclude":
        inside = sampled(torch.ones_like(key[:, :1]), displacement, radius)[0]
        scores = scores.masked_fill(inside < 1 - 1e-4, OUTSIDE)
    if window == "disc":
        away = torch.arange(-radius, radius + 1).square()
        scores = scores.masked_fill((away[:, None] + away >= radius**2).flatten(), OUTSIDE)
    return scores


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(2, 21), st.integers(2, 21)),
    radius=st.integers(1, 4),
    reach=st.sampled_from([0.0, 1.0, 5.0, 60.0]),
    border=st.sampled_from(["exclude", "zero"]),
    window=st.sampled_from(["square", "disc"]),
    seed=st.integers(0, 1000),
)
def test_equals_sampling_every_place(size, radius, reach, border, window, seed):
    torch.manual_seed(seed)
    query, key, value = torch.randn(1, 3, *size), torch.randn(1, 3, *size), torch.rand(1, 2, *size)
    # in 64ths: shares that the reference computes without rounding
    displacement = (torch.randn(2, *size) * reach * 64).round() / 64
    options = {"scale": 1.0, "border": border, "window": window}
    scores = everything(query, key, displacement, radius, border, window)
    values = sampled(value, displacement, radius)

    copy, normaliser = distant_part(query, key, value, displacement, radius, **options)
    some = scores.amax(-1) > OUTSIDE / 2  # of the others nothing is said
    assert_close(normaliser[0, 0][some], scores.logsumexp(-1)[some], atol=1e-4, rtol=1e-4)
    expected = (values * scores.softmax(-1)).sum(-1)
    assert_close(copy[0][:, some], expected[:, some], atol=1e-4, rtol=1e-4)

    count = 4
    best, found = distant_matches(query, key, value, displacement, radius, count, **options)
    ranked, where = scores.topk(count, dim=-1)
    assert_close(best[0].permute(1, 2, 0)[some], ranked[some], atol=1e-4, rtol=1e-4)
    kept = torch.full_like(scores, -torch.inf).scatter(-1, where, ranked).softmax(-1)
    joined = join_matches([(best, found)], count)
    clear = some & (ranked.diff(dim=-1).abs().amin(-1) > 1e-3)
    clear &= _next(scores, count) < ranked[..., -1] - 1e-3
    expected = (values * kept).sum(-1)
    assert_close(joined[0][:, clear], expected[:, clear], atol=1e-3, rtol=1e-3)


def _next(scores: Tensor, count: int) -> Tensor:
    """The best score that is not among the `count` best."""
    if scores.shape[-1] <= count:
        return torch.full(scores.shape[:-1], -torch.inf)
    return scores.topk(count + 1, dim=-1).values[..., -1]

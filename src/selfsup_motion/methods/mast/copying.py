"""MAST's bottleneck, its copies of one colour channel, and how sharp they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.attention import Border, local_correlation, restricted_attention
from selfsup_motion.ops.label_cells import cells_to_pixels

CHANNELS = (1, 2)
"""Of Lab, those that can be dropped: a and b."""

_GAIN = 1.5
_UNITS = 20.0


def draw_channel(rng: np.random.Generator | np.random.RandomState) -> int:
    """Which channel of Lab a batch loses, 1 or 2, with the calls of the published code."""
    rng.choice([1])  # how many; it is always one
    return int(rng.choice(CHANNELS, 1, replace=False)[0])


def without(lab: Tensor, channel: int) -> Tensor:
    """Lab (…, 3, H, W) with a channel set to 0 and all multiplied by 1.5 (section 3.2)."""
    gains = lab.new_full((3, 1, 1), _GAIN)
    gains[channel] = 0.0
    return lab * gains


def copied(
    features: Tensor,
    values: Tensor,
    radius: int | None,
    stride: int,
    *,
    scale: float,
    border: Border,
) -> Tensor:
    """Copy a map to the last frame from all frames before it, with one softmax over them.

    Args:
        features: (B, T, C, h, w).
        values: (B, T - 1, D, H, W), what the frames before have; of each cell the first pixel.
        radius: of the window, in cells; None: everywhere.
        stride: pixels per cell.
        scale: of the scores.
        border: see `restricted_attention`.

    Returns:
        (B, D, h, w).
    """
    cells = values[..., ::stride, ::stride]
    return restricted_attention(
        features[:, -1], features[:, :-1], cells, radius, scale=scale, border=border
    )


def color_loss(cells: Tensor, truth: Tensor, stride: int) -> Tensor:
    """Smooth L1 between 20 times the enlarged cells (B, 1, h, w) and 20 times the truth
    (B, 1, H, W): its knee is at an error of 0.05, 6.35 units of a or b (section 3.2)."""
    return F.smooth_l1_loss(_UNITS * cells_to_pixels(cells, stride), _UNITS * truth)


@dataclass(frozen=True)
class Sharpness:
    """How sharp a softmax is.

    Attributes:
        highest: mean of its largest weights; 1 if each pixel copies from a single one.
        spread: standard deviation of the scores that go into it.
    """

    highest: float
    spread: float


@torch.no_grad()
def sharpness(features: Tensor, radius: int | None, *, scale: float, border: Border) -> Sharpness:
    """Of the softmax of `copied`, whose arguments it has."""
    frames = features.shape[1]
    target = features[:, -1].float()
    if radius is None:
        keys = features[:, :-1].float().movedim(2, 1).flatten(2)
        scores = scale * torch.einsum("bcx,bcy->byx", target.flatten(2), keys)
        inside = torch.ones_like(scores, dtype=torch.bool)
    else:
        keys = features[:, :-1].float()
        each = [local_correlation(target, keys[:, n], radius) for n in range(frames - 1)]
        scores = scale * torch.cat(each, 1)
        ones = torch.ones_like(target[:1, :1])
        there = local_correlation(ones, ones, radius) > 0
        inside = there.repeat(1, frames - 1, 1, 1).expand_as(scores)
    weights = scores if border == "zero" else scores.masked_fill(~inside, -torch.inf)
    highest = weights.softmax(1).amax(1).mean()
    return Sharpness(float(highest), float(scores[inside].std()))

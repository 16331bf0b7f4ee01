"""How sure a network is of a motion: entropy and modes of what it predicts for a pixel.

The codes with bins give a probability for every class of motion. A mode is a peak of it, together
with all bins from which one climbs to that peak; its share is their probability, its motion their
mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.motion_code import JointBins, MotionCode, PolarBins


class MotionModes(NamedTuple):
    """The motions that a pixel may have.

    Attributes:
        entropy: (B, h, w) float32 in bits; 0 where there is no doubt.
        shares: (B, M, h, w) float32, the probability of each mode, the largest first. They sum up
            to 1 if there are no more than M modes.
        motions: (B, M, 2, h, w) float32 in pixels; where the share is 0 they mean nothing.
    """

    entropy: Tensor
    shares: Tensor
    motions: Tensor


def motion_modes(code: MotionCode, scores: Tensor, count: int = 3) -> MotionModes:
    """Read a network's scores.

    The entropy is that of the bins; where two axes, or direction and length, are classified by
    themselves, they are taken for independent.

    Args:
        code: one with bins.
        scores: (B, code.channels, h, w).
        count: modes to return.

    Raises:
        ValueError: a code that says nothing about probabilities.
    """
    scores = scores.float()
    if isinstance(code, FlowBins):
        both = scores.reshape(len(scores), 2, code.num_bins, *scores.shape[2:]).softmax(2)
        centers = code.centers.to(scores)
        x, y = (_line_modes(p, centers.view(1, -1), count) for p in both.unbind(1))
        shares, first, second = _products(x, y, count)
        return MotionModes(
            _entropy(both).sum(1), shares, torch.stack([first[..., 0], second[..., 0]], 2)
        )
    if isinstance(code, PolarBins):
        angles = scores[:, : code.angle_bins].softmax(1)
        radii = scores[:, code.angle_bins :].softmax(1)
        directions = _line_modes(angles, code.directions.to(scores), count, circular=True)
        lengths = _line_modes(radii, code.lengths.to(scores).view(1, -1), count)
        shares, way, length = _products(directions, lengths, count)
        motions = (way * length).movedim(-1, 2)
        return MotionModes(_entropy(angles) + _entropy(radii), shares, motions)
    if isinstance(code, JointBins):
        probability = scores.softmax(1)
        centers = code.axis.centers.to(scores)
        pairs = torch.stack(torch.meshgrid(centers, centers, indexing="ij")).flatten(1)
        shares, values = _modes(probability, _square_climb(probability), pairs, count)
        return MotionModes(_entropy(probability), shares, values.movedim(-1, 2))
    raise ValueError(f"{type(code).__name__} predicts a motion without its probability")


def mixture_modes(shares: Tensor, motions: Tensor, alike: float) -> MotionModes:
    """Of a mixture of a few motions.

    Motions that differ by less than 2 · `alike` are one mode. The entropy counts motions as one as
    far as they are alike, -Σ p log Σ q exp(-d²/2σ²), where d is the distance of two motions
    (Leinster and Cobbold 2012, order 1): 0 if all are equal, Shannon's if all are far apart.

    Args:
        shares: (B, M, h, w), which sum up to 1.
        motions: (B, M, 2, h, w) in pixels.
        alike: σ, in pixels.
    """
    apart = (motions[:, :, None] - motions[:, None]).square().sum(3)  # (B, M, M, h, w)
    ordinary = (torch.exp(-apart / (2 * alike**2)) * shares[:, None]).sum(2)
    entropy = -(shares * ordinary.clamp(1e-9, 1).log2()).sum(1)
    order = shares.argsort(1, descending=True)
    mass = list(shares.gather(1, order).unbind(1))
    means = list(motions.gather(1, order[:, :, None].expand_as(motions)).unbind(1))
    for large in range(len(mass)):  # takes in the smaller ones that are like it
        for small in range(large + 1, len(mass)):
            near = (means[large] - means[small]).norm(dim=1) < 2 * alike
            moved = torch.where(near, mass[small], 0)
            whole = mass[large] + moved
            share = (moved / whole.clamp(min=1e-9))[:, None]
            means[large] = means[large] + share * (means[small] - means[large])
            mass[large], mass[small] = whole, mass[small] - moved
    merged = torch.stack(mass, 1)
    order = merged.argsort(1, descending=True)
    values = torch.stack(means, 1)
    return MotionModes(
        entropy.clamp(min=0),
        merged.gather(1, order),
        values.gather(1, order[:, :, None].expand_as(values)),
    )


def _entropy(probability: Tensor) -> Tensor:
    """In bits, over the third dimension from the right."""
    return -(probability * probability.clamp(min=1e-12).log2()).sum(-3)


def _products(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Modes of two independent variables → the likeliest pairs: shares (B, M, h, w), values of the
    one and of the other (B, M, h, w, D)."""
    together = first[0][:, :, None] * second[0][:, None]  # (B, M, M, h, w)
    pairs, each = together.flatten(1, 2), together.shape[2]
    shares, pair = pairs.topk(min(count, pairs.shape[1]), 1)
    one, other = (
        values.gather(1, index[..., None].expand(*index.shape, values.shape[-1]))
        for values, index in ((first[1], pair // each), (second[1], pair % each))
    )
    return shares, one, other


def _line_modes(
    probability: Tensor, values: Tensor, count: int, circular: bool = False
) -> tuple[Tensor, Tensor]:
    """Modes of (B, n, h, w) over n bins in a row, or in a circle; see `_modes`."""
    size = probability.shape[1]
    index = torch.arange(size, device=probability.device)
    if circular:
        neighbours = torch.stack([index, (index - 1) % size, (index + 1) % size])
    else:
        neighbours = torch.stack([index, (index - 1).clamp(min=0), (index + 1).clamp(max=size - 1)])
    return _modes(probability, _climb(probability, neighbours), values, count)


def _square_climb(probability: Tensor) -> Tensor:
    """As `_climb`, over the 3 × 3 neighbours in a square of bins."""
    side = round(probability.shape[1] ** 0.5)
    index = torch.arange(side, device=probability.device)
    near = [(index + step).clamp(0, side - 1) for step in (0, -1, 1)]
    neighbours = [(x[:, None] * side + y).flatten() for x in near for y in near]
    return _climb(probability, torch.stack(neighbours))


def _climb(probability: Tensor, neighbours: Tensor) -> Tensor:
    """(B, n, h, w): the peak to which each bin leads, by steps to the best of (k, n) neighbours."""
    # of equal bins the last is the higher one: a plateau is one mode
    slope = 1 + 1e-5 * torch.arange(probability.shape[1], device=probability.device)
    best = (probability * slope[:, None, None])[:, neighbours].argmax(1)  # of (B, k, n, h, w)
    target = neighbours.t()[None, :, :, None, None].expand(
        len(probability), -1, -1, *probability.shape[2:]
    )
    target = target.gather(2, best[:, :, None])[:, :, 0]
    for _ in range(max(1, (probability.shape[1] - 1).bit_length())):
        target = target.gather(1, target)
    return target


def _modes(probability: Tensor, peaks: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Shares (B, M, h, w) of the largest modes and their mean values (B, M, h, w, D).

    Args:
        probability: (B, n, h, w).
        peaks: (B, n, h, w) int64, the peak that each bin belongs to.
        values: (D, n).
        count: M, at most n.
    """
    mass = torch.zeros_like(probability).scatter_add_(1, peaks, probability)
    sums = [
        torch.zeros_like(probability).scatter_add_(1, peaks, probability * value.view(-1, 1, 1))
        for value in values
    ]
    shares, chosen = mass.topk(min(count, probability.shape[1]), 1)
    means = [total.gather(1, chosen) / shares.clamp(min=1e-12) for total in sums]
    return shares, torch.stack(means, -1)

"""What each object of a video looks like, learned while it is followed.

Labels that are copied from frame to frame lose an object bit by bit: what is missing in one frame
cannot be copied from it. A classifier of single cells does not need the last outline, so it finds
again what belongs to the object. Discriminative target models that are learned during the video
are from Robinson et al., "Learning Fast and Robust Target Models for Video Object Segmentation"
(CVPR 2020). This one has no layers to train: it is ridge regression on the features and on random
Fourier features of them (Rahimi & Recht 2007), solved anew after every frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

COSINES, BANDWIDTH = 384, 2.5
"""How many random cosines of a unit vector, and the standard deviation of their frequencies."""
NEAR = 12
"""In cells: background further from an object is not mistaken for it."""
RIDGE, RATE = 1e-3, 0.1
"""Of the regression, in which the weights of a frame add up to 2; and how much of what was learned
from the frames since the first is replaced by every frame."""
_CONSTANT = 0.3
"""The constant feature, beside features of length 1."""


@dataclass(frozen=True)
class _Moments:
    """Weighted sums over cells, for each of N objects and F features.

    Attributes:
        products: (N, F, F) of features with each other.
        targets: (N, F) of features with 1 where the object is and −1 where it is not.
    """

    products: Tensor
    targets: Tensor

    @property
    def seen(self) -> Tensor:
        """(N, 1) whether there was anything of the object."""
        return self.products.diagonal(dim1=1, dim2=2).any(1)[:, None]

    def mixed(self, other: _Moments, share: Tensor) -> _Moments:
        """With a share (N, 1) of another one."""
        return _Moments(
            torch.lerp(self.products, other.products, share[..., None]),
            torch.lerp(self.targets, other.targets, share),
        )


class TargetModel:
    """A classifier of cells for each object of a video.

    Half of what it learns from is the frame in which the object began. The other half are the
    frames since, each of which counts a tenth less than the next. Cells of the object and those
    around it have the same weight; what is far away needs no classifier. Background is what no
    object claims.
    """

    def __init__(self) -> None:
        self._first: _Moments | None = None
        self._latest: _Moments | None = None

    @property
    def bytes_kept(self) -> int:
        """Memory of what was learned."""
        kept = [m for m in (self._first, self._latest) if m is not None]
        tensors = [t for moments in kept for t in (moments.products, moments.targets)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def moved(self, places: Sequence[int], count: int) -> TargetModel:
        """Another one that has learned the same.

        Args:
            places: new places of the labels; the background stays the first.
            count: of labels, the new ones included.
        """
        made = TargetModel()
        made._first = None if self._first is None else _moved(self._first, places, count)
        made._latest = None if self._latest is None else _moved(self._latest, places, count)
        return made

    def learn(self, features: Tensor, labels: Tensor, starting: Sequence[int] = ()) -> None:
        """Take in a frame. All objects of the first one begin with it.

        Args:
            features: (C, h, w).
            labels: (D, h, w), how much of each cell has each label; 0 is the background.
            starting: labels of objects that begin with this frame.
        """
        found = _moments(features.float(), labels.float())
        if self._first is None or self._latest is None:
            zero = torch.zeros_like
            self._first, self._latest = found, _Moments(zero(found.products), zero(found.targets))
            return
        self._latest = self._latest.mixed(found, RATE * found.seen)
        if starting:
            begins = torch.zeros_like(found.seen, dtype=torch.float32)
            begins[[place - 1 for place in starting]] = 1
            self._first = self._first.mixed(found, begins)
            self._latest = self._latest.mixed(found, begins)

    def refine(self, features: Tensor, labels: Tensor, weight: float) -> Tensor:
        """Raise the labels that fit the look of each cell, and lower the others.

        Args:
            features: (C, h, w).
            labels: (D, h, w) of the same frame.
            weight: of the classifier's score, from about −1 to 1, beside the label's logarithm.

        Returns:
            (D, h, w), with the same sum in each cell.
        """
        undecided = (labels > 0).sum(0) > 1
        if self._first is None or self._latest is None or not undecided.any():
            return labels
        products = self._first.products + self._latest.products
        products.diagonal(dim1=1, dim2=2).add_(RIDGE)
        targets = self._first.targets + self._latest.targets
        classifiers = torch.linalg.solve(products, targets[..., None])[..., 0]
        given = labels[:, undecided]
        scores = classifiers @ _lifted(features.float()[:, undecided])
        known = self._first.seen | self._latest.seen
        claimed = scores.masked_fill(~known, -torch.inf).amax(0, keepdim=True)
        scores = torch.cat([torch.where(claimed.isfinite(), -claimed, 0), scores])
        raised = given * torch.exp(weight * scores)
        refined = labels.clone()
        refined[:, undecided] = raised * (given.sum(0) / raised.sum(0))
        return refined


def _moments(features: Tensor, labels: Tensor) -> _Moments:
    objects = labels[1:]
    around_any, around = _dilated(1 - labels[:1])[0], _dilated(objects)
    near = around_any > 0
    x, products, targets = _lifted(features[:, near]), [], []
    for label, surroundings in zip(objects[:, near], around[:, near], strict=True):
        inside, outside = label * around_any[near], (1 - label) * surroundings
        weights = inside / inside.sum().clamp(min=1e-3) + outside / outside.sum().clamp(min=1e-3)
        some = weights > 0
        cells = x[:, some]
        weighted = cells * weights[some]
        products.append(weighted @ cells.mT)
        targets.append(weighted @ (2 * label[some] - 1))
    if not products:
        return _Moments(x.new_zeros(0, len(x), len(x)), x.new_zeros(0, len(x)))
    return _Moments(torch.stack(products), torch.stack(targets))


def _dilated(labels: Tensor) -> Tensor:
    """(N, h, w): the largest value within `NEAR` cells."""
    side = 2 * NEAR + 1
    wide = F.max_pool2d(labels[None], (1, side), 1, (0, NEAR))
    return F.max_pool2d(wide, (side, 1), 1, (NEAR, 0))[0]


def _lifted(features: Tensor) -> Tensor:
    """(C, N) features → (C + 1 + COSINES, N): of length 1, a constant, and random cosines."""
    unit = F.normalize(features, dim=0)
    frequencies, phases = (t.to(unit.device) for t in _cosines(len(unit)))
    cosines = torch.cos(torch.addmm(phases, frequencies, unit)) * math.sqrt(2 / COSINES)
    return torch.cat([unit, torch.full_like(unit[:1], _CONSTANT), cosines])


@cache
def _cosines(channels: int) -> tuple[Tensor, Tensor]:
    """Frequencies (COSINES, channels) and phases (COSINES, 1), the same in every process."""
    generator = torch.Generator().manual_seed(0)
    frequencies = torch.randn(COSINES, channels, generator=generator) * BANDWIDTH
    return frequencies, torch.rand(COSINES, 1, generator=generator) * 2 * math.pi


def _moved(moments: _Moments, places: Sequence[int], count: int) -> _Moments:
    old = moments.products, moments.targets
    new = [values.new_zeros(count - 1, *values.shape[1:]) for values in old]
    for values, kept in zip(new, old, strict=True):
        values[[place - 1 for place in places[1:]]] = kept
    return _Moments(*new)

"""Features of pictures for people to look at: colours of what is alike, and where it is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Measure = Literal["cosine", "euclidean"]

_MOST_CELLS = 4_000
"""Cells that principal components are computed from."""
_EDGE = 0.01
"""Share of cells that may be darker than black, or brighter than full colour."""


def pca_colors(maps: Sequence[Tensor]) -> list[Tensor]:
    """Colours by the first three principal components of the features of all maps together.

    Alike cells have alike colours, within a map and across maps. Signs are such that the third
    moment of each component is positive, so the colours do not depend on the solver.

    Args:
        maps: each (C, h, w); of any sizes, with the same C.

    Returns:
        For each map (h, w, 3) uint8; components that the features do not have are mid-grey.
    """
    cells = [features.flatten(1).T.double() for features in maps]
    together = torch.cat(cells)
    step = -(-len(together) // _MOST_CELLS)
    sample = together[::step]
    mean = sample.mean(0)
    centred = sample - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    count = min(3, len(mean))
    axes = F.pad(vectors.T.flip(0)[:count], (0, 0, 0, 3 - count))
    variances = F.pad(values.flip(0)[:count], (0, 3 - count))
    known = variances > 1e-10 * sample.square().sum().clamp(min=1e-12)
    scores = centred @ axes.T
    axes = axes * torch.where((scores**3).sum(0) < 0, -1.0, 1.0).double()[:, None]
    shares = torch.tensor([_EDGE, 1 - _EDGE], dtype=torch.float64, device=axes.device)
    low, high = torch.quantile(centred @ axes.T, shares, dim=0)
    colours = []
    for features, rows in zip(maps, cells, strict=True):
        shown = (((rows - mean) @ axes.T - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        shown = torch.where(known, shown, 0.5)
        height, width = features.shape[-2:]
        colours.append((shown * 255).round().byte().reshape(height, width, 3))
    return colours


def similarity_map(query: Tensor, features: Tensor, measure: Measure) -> Tensor:
    """How much each cell is like a query.

    Args:
        query: (C,).
        features: (C, h, w).
        measure: "cosine", or "euclidean": minus half the squared distance, so that more is
            more alike (as in `LabelPropagator`).

    Returns:
        (h, w).
    """
    flat = features.flatten(1)
    products = torch.mv(flat.T, query)
    if measure == "cosine":
        lengths = query.norm() * flat.norm(dim=0)
        alike: Tensor = products / lengths.clamp(min=1e-12)
    else:
        alike = products - (query.square().sum() + flat.square().sum(0)) / 2
    height, width = features.shape[-2:]
    return alike.reshape(height, width)

"""Dilated windows as dense windows of smaller images."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.attention.tiles import Inputs

Border = Literal["exclude", "zero"]


def split_phases(
    query: Tensor, key: Tensor, value: Tensor, dilation: int, border: Border
) -> Inputs:
    """Turn dilated windows into dense ones.

    Positions that are equal modulo the dilation never meet the others: each such phase is an image
    of its own, 1 / dilation as large. The phases come first in the batch.
    """
    inside = None
    if border == "exclude":
        inside = query.new_ones((len(query), 1, 1, *query.shape[-2:]), dtype=torch.bool)
    if dilation > 1:
        query, key, value = (_phases(tensor, dilation) for tensor in (query, key, value))
        inside = None if inside is None else _phases(inside, dilation)
    return Inputs(query, key, value, inside)


def join_phases(out: Tensor, dilation: int, size: torch.Size) -> Tensor:
    """Undo `split_phases` for a result (phases · B, D, h, w) → (B, D, *size)."""
    if dilation == 1:
        return out
    split = torch.unflatten(out, 0, (dilation, dilation, -1)).permute(2, 3, 4, 0, 5, 1)
    return split.flatten(4, 5).flatten(2, 3)[..., : size[0], : size[1]]


def _phases(images: Tensor, dilation: int) -> Tensor:
    height, width = images.shape[-2:]
    padding = (0, -width % dilation, 0, -height % dilation)
    if any(padding):
        images = F.pad(images, padding)
    split = torch.unflatten(images, -1, (-1, dilation))
    split = torch.unflatten(split, -3, (-1, dilation))
    return split.movedim((-3, -1), (0, 1)).flatten(0, 2)

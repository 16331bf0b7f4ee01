"""Means of a validation, by name."""

from __future__ import annotations

from typing import cast

from torch import nn
from torchmetrics import MeanMetric


class Means(nn.ModuleDict):
    """Running means over batches and ranks, one for each name.

    Args:
        names: of the values.
    """

    def __init__(self, *names: str) -> None:
        super().__init__({name: MeanMetric() for name in names})

    def __getitem__(self, key: str) -> MeanMetric:
        return cast(MeanMetric, super().__getitem__(key))

    def reset(self) -> None:
        """Begin all of them anew."""
        for name in self:
            self[name].reset()

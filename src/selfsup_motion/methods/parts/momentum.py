"""A network that follows another one slowly: what MoCo, BYOL and DSM compare with."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Momentum(nn.Module):
    """A copy of modules whose weights are a moving average of theirs, without gradients.

    Statistics of normalisation layers are the copy's own, from what it sees itself. The copy is
    part of the checkpoint.
    """

    def __init__(self, **modules: nn.Module) -> None:
        """Copy modules.

        Args:
            modules: by name; the copies are attributes of these names.
        """
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, copy.deepcopy(module).requires_grad_(False))

    @torch.no_grad()
    def follow(self, momentum: float, **modules: nn.Module) -> None:
        """Move the copies' weights towards those of the modules.

        Args:
            momentum: share that the copy keeps, in [0, 1].
            modules: those that were copied.
        """
        own, theirs = list(self._weights(modules)), []
        for module in modules.values():
            theirs += [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(own, theirs, 1 - momentum)

    def _weights(self, modules: dict[str, nn.Module]) -> Iterator[Tensor]:
        for name in modules:
            yield from self.get_submodule(name).parameters()


def rising_momentum(start: float, progress: float) -> float:
    """The momentum after a share of the run: from `start` along half a cosine to 1."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

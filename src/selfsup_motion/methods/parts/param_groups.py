"""Which parameters an optimiser's weight decay is for, and which learn faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer


def decayed(module: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: weights of convolutions and linear layers, and the rest without decay.

    The rest is everything of fewer than two dimensions: normalisation and biases.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def fast_biases(make_optimizer: Callable[..., Optimizer], module: nn.Module) -> Optimizer:
    """An optimiser in which biases have twice the rate and no decay; all else decays."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    biases = [p for name, p in named if name.endswith("bias")]
    others = [p for name, p in named if not name.endswith("bias")]
    optimizer = make_optimizer([{"params": others}, {"params": biases, "weight_decay": 0.0}])
    optimizer.param_groups[1]["lr"] *= 2
    return optimizer

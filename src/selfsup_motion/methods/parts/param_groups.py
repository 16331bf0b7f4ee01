"""Which parameters an optimiser's weight decay is for."""

from __future__ import annotations

from typing import Any

from torch import nn


def decayed(module: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: weights of convolutions and linear layers, and the rest without decay.

    The rest is everything of fewer than two dimensions: normalisation and biases.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]

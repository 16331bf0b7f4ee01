"""LARS: every layer learns at a rate that fits its weights (You et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LARS(Optimizer):
    """SGD whose gradients are scaled by ‖weights‖ / ‖gradient + decay · weights‖ of each layer.

    Parameters of fewer than two dimensions (normalisation and biases) are left to plain SGD.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        trust: float = 1e-3,
    ) -> None:
        """Describe the optimiser.

        Args:
            params: parameters or groups of them.
            lr: learning rate.
            momentum: of the steps.
            weight_decay: of the weights, added to their gradients.
            nesterov: look ahead along the momentum.
            trust: share of its own length that a layer moves at a rate of 1.

        Raises:
            ValueError: a value out of range.
        """
        if lr < 0 or not 0 <= momentum < 1 or weight_decay < 0 or trust <= 0:
            raise ValueError(
                f"LARS takes lr and weight_decay from 0, momentum in [0, 1) and a positive trust, "
                f"got {lr}, {weight_decay}, {momentum} and {trust}"
            )
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov,
            "trust": trust,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make a step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                step = p.grad.add(p, alpha=group["weight_decay"])
                if p.ndim > 1:
                    step.mul_(_ratio(p, p.grad, group["weight_decay"], group["trust"]))
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                speed = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
                if group["nesterov"]:
                    speed = step.add_(speed, alpha=group["momentum"])
                p.add_(speed, alpha=-group["lr"])
        return loss


def _ratio(weights: Tensor, gradient: Tensor, decay: float, trust: float) -> Tensor:
    """() what a layer's gradient is multiplied by; 1 where the weights or it are zero."""
    length, slope = weights.norm(), gradient.norm()
    ratio = trust * length / (slope + decay * length).clamp(min=1e-8)
    return torch.where((length > 0) & (slope > 0), ratio, torch.ones_like(ratio))

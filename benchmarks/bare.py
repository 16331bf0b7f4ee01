"""What the networks of a training step cost by themselves, and a method outside of a trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from selfsup_motion.training.compiling import ENTRIES, networks


def outside_of_trainer(method: pl.LightningModule) -> pl.LightningModule:
    """The same method, which takes its steps as in the middle of a run and logs nothing."""
    run = SimpleNamespace(
        global_step=5, estimated_stepping_batches=100, max_steps=100, current_epoch=0,
        sanity_checking=False, num_sanity_val_steps=0, world_size=1,
    )  # fmt: skip
    method.__class__ = type(
        type(method).__name__,
        (type(method),),
        {
            "trainer": property(lambda _: run),
            "global_step": property(lambda _: run.global_step),
            "log": lambda *_, **__: None,
            "log_dict": lambda *_, **__: None,
        },
    )
    return method.train()


@dataclass
class Asked:
    """One call of a network: the function, its arguments, and whether gradients were on."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    gradients: bool


def recorded(method: nn.Module, step: Callable[[], object]) -> list[Asked]:
    """The calls of a method's networks in a step; inner calls belong to the outer one."""
    calls: list[Asked] = []
    inside = [0]

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not inside[0]:
                gradients = torch.is_grad_enabled()
                calls.append(Asked(function, _kept(args), _kept(kwargs), gradients))
            inside[0] += 1
            try:
                return function(*args, **kwargs)
            finally:
                inside[0] -= 1

        return call

    changed = [
        (network, name)
        for network in networks(method)
        for name in ENTRIES
        if hasattr(network, name) and name not in network._modules  # a layer may be called so
    ]
    for network, name in changed:
        setattr(network, name, wrapped(getattr(network, name)))
    try:
        step()
    finally:
        for network, name in changed:
            delattr(network, name)
    return calls


def replay(calls: list[Asked]) -> None:
    """The same calls, and back through each from ones, where the step had gradients."""
    for asked in calls:
        with torch.set_grad_enabled(asked.gradients):
            found = tree_leaves(asked.function(*asked.args, **asked.kwargs))
        outputs = [x for x in found if isinstance(x, Tensor) and x.grad_fn is not None]
        if outputs:
            torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])


def _kept(arguments: Any) -> Any:
    """Inputs that gradients went back to still get them."""

    def kept(x: Any) -> Any:
        return x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x

    return tree_map(kept, arguments)

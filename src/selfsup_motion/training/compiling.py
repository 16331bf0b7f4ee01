"""`compile=true`: the networks of a training step, made by PyTorch's compiler.

Not the step around them. It draws random numbers, looks at values on the host, logs, and computes
its loss in tiles that share memory: there the compiler gives up again and again, and a step becomes
dozens of graphs, some of them new at every step. A network is one graph, and sees the same shapes
at every step.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import sees_fixed_shapes

ENTRIES = (
    "forward", "forward_features", "forward_deep", "forward_joined", "forward_stages", "embed",
)  # fmt: skip
"""The functions by which training steps enter a network."""

Backend = str | Callable[..., Any]

log = logging.getLogger(__name__)


def check_compiler(trainer: DictConfig) -> None:
    """Make sure that compiling a method can be of use.

    Raises:
        UserError: the run would be on a CPU.
    """
    if trainer.get("accelerator") == "cpu" or not torch.cuda.is_available():
        raise UserError(
            "compile=true is for GPUs: on a CPU, PyTorch's compiler takes longer than it saves in "
            "thousands of steps (docs/scaling.md); leave it out, or add trainer=gpu."
        )


def networks(module: nn.Module) -> Iterator[nn.Module]:
    """The parts of a method that have weights and are called; of containers, what they contain."""
    for child in module.children():
        if next(child.parameters(), None) is None:
            continue
        if type(child).forward is nn.Module.forward:  # a container
            yield from networks(child)
        else:
            yield child


@contextlib.contextmanager
def compiled(method: pl.LightningModule, backend: Backend = "inductor") -> Iterator[None]:
    """Within it, training steps run compiled networks.

    Each is compiled when a step first calls it, and again for another shape. Validation, which
    sees many shapes, runs the networks as they are. Names of weights stay.

    Args:
        method: all of its `networks` are compiled.
        backend: of `torch.compile`.

    Raises:
        UserError: a training step of the method sees images of many sizes; or the compiler fails.
    """
    if not sees_fixed_shapes(method):
        raise UserError(
            f"compile=true: {type(method).__name__} learns from images of many sizes, and the "
            "compiler would begin anew with each; leave it out."
        )
    replaced: list[tuple[nn.Module, str]] = []
    try:
        for network in networks(method):
            for entry in ENTRIES:
                plain = getattr(network, entry, None)
                if inspect.ismethod(plain):  # a part may have the same name
                    setattr(network, entry, _in_training(method, plain, backend))
                    replaced.append((network, entry))
        log.info("Networks are compiled in the first steps, which may take minutes.")
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise UserError(
            f"compile=true: PyTorch's compiler fails ({reason}); leave it out."
        ) from error
    finally:
        for network, entry in replaced:
            delattr(network, entry)


def _in_training(
    method: pl.LightningModule, plain: Callable[..., Any], backend: Backend
) -> Callable[..., Any]:
    """The compiled function while the method is in training mode, else the plain one."""
    fast = torch.compile(plain, backend=backend, dynamic=False)

    def chosen(*args: Any, **kwargs: Any) -> Any:
        # one entry may call another: it is then compiled as a part of it
        if torch.compiler.is_compiling() or not method.training:
            return plain(*args, **kwargs)
        return fast(*args, **kwargs)

    return chosen

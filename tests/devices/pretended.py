"""A training step where there is no GPU: on tensors that only say they are on one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from selfsup_motion.settings.build import build

Batch = dict[str, Any]
aten = torch.ops.aten


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """What is made on `cuda` has no content and says it is there; waiting for it is refused."""
    # cuDNN wants to know the device that there is not
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False), RefusesWaiting(False):
        yield


def alone(method: pl.LightningModule) -> pl.LightningModule:
    """A copy that takes its steps outside of a trainer, in the middle of a run."""
    run = SimpleNamespace(
        global_step=5,
        estimated_stepping_batches=100,
        max_steps=100,
        current_epoch=0,
        sanity_checking=False,
        num_sanity_val_steps=0,
        world_size=1,
    )
    kind = type(method)
    taken_out = type(
        f"Alone{kind.__name__}",
        (kind,),
        {
            "trainer": property(lambda _: run),
            "global_step": property(lambda _: run.global_step),
            "log": lambda *_, **__: None,
            "log_dict": lambda *_, **__: None,
        },
    )
    made = copy.deepcopy(method)
    made.__class__ = taken_out
    return made.train()


def first_step(cfg: DictConfig) -> tuple[pl.LightningModule, Batch]:
    """The method of a config and the first batch that it is trained on."""
    data = build(cfg.data.module, "data")
    data.setup("fit")
    return build(cfg.method, "method"), next(iter(data.train_dataloader()))


def first_validation(cfg: DictConfig) -> tuple[pl.LightningModule, Batch]:
    """The method of a config and the first batch that it is validated with."""
    data = build(cfg.data.module, "data")
    data.setup("fit")
    return build(cfg.method, "method"), next(iter(data.val_dataloader()))


class RefusesWaiting(TorchDispatchMode):
    """What the host waits for: values it reads, copies of constants, checked solutions.

    PyTorch copies to a GPU behind everything that was asked of it before, and the host waits until
    the copy is there, unless it says `non_blocking=True`.
    """

    def __init__(self, may_check: bool) -> None:
        super().__init__()
        self.may_check = may_check

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        waits = False
        if func is aten._to_copy.default:
            goal = torch.device(kwargs.get("device") or given[0].device)
            waits = goal.type != given[0].device.type and not kwargs.get("non_blocking")
        elif func is aten.copy_.default:
            waits = given[0].device.type != given[1].device.type and not (len(args) > 2 and args[2])
        elif func in (aten.index.Tensor, aten.index_put_.default):
            waits = len({x.device.type for x in given if x.dim() > 0}) > 1
        elif func is aten._local_scalar_dense.default:
            waits = given[0].device.type == "cuda"
        elif func is aten._linalg_check_errors.default:
            waits = not self.may_check
        if waits:
            raise RuntimeError(f"the host waits for the device: {func}")
        return func(*args, **kwargs)


def on_pretended_cuda(
    method: pl.LightningModule, batch: Batch, *, may_check: bool = False
) -> Tensor:
    """The loss of a step on tensors without content that say they are on a GPU.

    Args:
        method: of which a copy takes the step.
        batch: on the CPU.
        may_check: whether the step may wait to know that a matrix could be factorised.

    Raises:
        Exception: a tensor on the CPU meets those on the GPU, the host has to know a value or how
            many there are of something (`.item()`, boolean indexing), or it copies numbers to the
            GPU: it would wait there.
    """
    method = alone(method)
    pretending = FakeTensorMode()

    def moved(tensor: Tensor) -> Tensor:
        return pretending.from_tensor(tensor).detach().to("cuda")

    # cuDNN wants to know the device that there is not
    with pretending, torch.backends.cudnn.flags(enabled=False):
        for module in method.modules():
            for own in (module._parameters, module._buffers):
                for name, tensor in own.items():
                    if tensor is not None:
                        own[name] = moved_parameter(tensor, moved)
            if hasattr(module, "_device"):  # what Lightning believes
                module._device = torch.device("cuda", 0)
        inputs = tree_map(lambda x: moved(x) if isinstance(x, Tensor) else x, batch)
        with RefusesWaiting(may_check):
            loss: Tensor = method.training_step(inputs, 0)
    return loss


def moved_parameter(tensor: Tensor, moved: Callable[[Tensor], Tensor]) -> Tensor:
    """Parameters stay parameters."""
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(moved(tensor), tensor.requires_grad)
    return moved(tensor)


def on_meta(method: pl.LightningModule, batch: Batch) -> list[str]:
    """A step forward and backward on tensors without content; names of what has no gradient."""
    method = alone(method).to("meta")
    inputs = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, batch)
    # there is no mixed precision on it that could be switched off
    with mock.patch("torch.autocast", return_value=nullcontext()):
        method.training_step(inputs, 0).backward()
    return [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]


def in_half_precision(method: pl.LightningModule, batch: Batch, dtype: torch.dtype) -> Tensor:
    """The loss of a step on the CPU, as mixed precision computes it."""
    method = alone(method)
    with torch.autocast("cpu", dtype):
        loss: Tensor = method.training_step(batch, 0)
    return loss

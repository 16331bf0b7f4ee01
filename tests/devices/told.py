"""Tensors that have values, and say that they are on a GPU: what reads values can be run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pretended import moved_parameter
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten
MAY_MIX = {aten.copy_.default, aten._to_copy.default, aten.index.Tensor, aten.index_put_.default}
"""Copies, and places that are looked up: a GPU takes those from the host as well."""


class OnGPU(Tensor):
    """`values` lie on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGPU:
        made: OnGPU = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(),
            dtype=values.dtype, layout=values.layout, device=GPU,
        )  # fmt: skip
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"OnGPU({self.values!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class TellsDevices(TorchDispatchMode):
    """What is made on `cuda` says that it is there; meetings with tensors elsewhere are refused."""

    # PyTorch looks for a driver before it makes something on a GPU, unless such a mode is active
    _mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operator on the values; the results are where a GPU would have them.

    Raises:
        RuntimeError: tensors of different devices.
    """
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    gpu = any(isinstance(x, OnGPU) for x in given)
    strangers = [x for x in given if not isinstance(x, OnGPU) and x.dim() > 0]
    if gpu and strangers and func not in MAY_MIX:
        raise RuntimeError(f"{func}: tensors on {GPU} and on the CPU, {tuple(strangers[0].shape)}")
    asked = kwargs.get("device")
    there = gpu if asked is None else torch.device(asked).type == "cuda"
    if func is aten.copy_.default:
        there = isinstance(args[0], OnGPU)
    if asked is not None:
        kwargs = {**kwargs, "device": CPU, "pin_memory": False}
    plain = tree_map(lambda x: x.values if isinstance(x, OnGPU) else x, (args, kwargs))
    found = func(*plain[0], **plain[1])
    known = {id(x.values): x for x in given if isinstance(x, OnGPU)}

    def told(x: Any) -> Any:
        if not isinstance(x, Tensor) or not there:
            return x
        same = known.get(id(x))  # what is changed in place stays itself
        return OnGPU(x) if same is None else same

    return tree_map(told, found)


@contextmanager
def told_devices() -> Iterator[None]:
    """`cuda` is where tensors can be made and moved to."""
    # cuDNN wants to know the device that there is not
    torch._C._ensureCUDADeviceGuardSet()  # one that does nothing, where there is no device
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(
        True
    )  # `torch.tensor` leaves the way to the GPU to the mode
    try:
        with TellsDevices(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def on_gpu(values: Tensor) -> Tensor:
    """The same values, said to be on a GPU."""
    return values if isinstance(values, OnGPU) else OnGPU(values.detach().clone())


def move(module: nn.Module) -> None:
    """All weights and buffers of a network."""
    for part in module.modules():
        for own in (part._parameters, part._buffers):
            for name, tensor in own.items():
                if tensor is not None and not isinstance(tensor, OnGPU):
                    own[name] = moved_parameter(tensor, on_gpu)
        if hasattr(part, "_device"):  # what Lightning and its metrics believe
            part._device = GPU
        for name in getattr(part, "_defaults", {}):  # of a metric
            state = getattr(part, name)
            if isinstance(state, Tensor):
                setattr(part, name, on_gpu(state))
            default = part._defaults[name]
            if isinstance(default, Tensor):
                part._defaults[name] = on_gpu(default)

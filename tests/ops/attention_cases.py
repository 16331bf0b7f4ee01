"""Cases of restricted attention for its kernels, and how far these are from the tiles."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.attention.fused import EXACT_CHANNELS, fused_attention
from selfsup_motion.ops.attention.parts import attention_part


class Case(NamedTuple):
    """`layout`: of the inputs' memory."""

    size: tuple[int, int]
    channels: int
    copied: int
    radius: int | None
    options: Mapping[str, Any] = MappingProxyType({})
    batch: int = 1
    references: int = 1
    dtypes: str = "fff"  # of query, key and value: float32, bfloat16 or half
    layout: str = "first"


QUICK = [
    Case((9, 10), 20, 3, 2, {"scale": 0.5}, batch=2, references=2, layout="strided"),
    Case((7, 6), 16, 1, 2, {"dilation": 2, "border": "zero", "window": "disc"}, dtypes="bbf"),
]
MANY = [
    Case((13, 21), 64, 16, 6, {"scale": 0.3}, batch=2),
    Case((17, 5), 256, 16, 2, {"scale": 0.1}),  # smaller tiles
    Case((9, 9), 256, 3, 3, {"scale": 0.1}, dtypes="bbb"),
    Case((8, 16), 16, 3, 0),
    Case((8, 9), 5, 64, 1, references=3, layout="last"),
    Case((1, 1), 16, 1, 3),
    Case((3, 30), 16, 2, 12, {"border": "zero"}),
    Case((11, 7), 33, 17, 4, {"window": "disc"}, batch=2, references=2),
    Case((10, 13), 16, 3, 2, {"dilation": 3}, batch=2),
    Case((2, 11), 16, 3, 2, {"dilation": 4, "border": "zero"}, layout="strided"),
    Case((6, 7), 16, 3, None, {"scale": 2.0}, references=2),
    Case((12, 9), 64, 3, 3, dtypes="hhh", layout="last"),
    Case((12, 9), 64, 3, 3, {"scale": -0.2}, dtypes="hbf"),
    Case((9, 8), 16, 4, 1, {"scale": 60.0}),  # nearly one key each
]
SLACK = {"f": 5e-6, "b": 2.0**-8, "h": 2.0**-10}
"""Of numbers near 1 that were rounded to a type; in float32, orders of addition differ."""
TF32 = 2.0**-8


def inputs(case: Case, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    types = {"f": torch.float32, "b": torch.bfloat16, "h": torch.float16}
    found = []
    for n, kind in zip((case.channels, case.channels, case.copied), case.dtypes, strict=True):
        shape = (case.batch, *([case.references] if found else []), n, *case.size)
        made = torch.randn(shape, generator=generator).to(device, types[kind])
        if case.layout == "last":
            made = made.movedim(-3, -1).contiguous().movedim(-1, -3)
        elif case.layout == "strided":
            made = torch.stack([made, -made], dim=-1)[..., 0]
        found.append(made.requires_grad_())
    return found


def difference(case: Case, device: str = "cpu") -> dict[str, float]:
    """The largest ones of results and gradients, in multiples of what is allowed."""
    found = {}
    tensors = inputs(case, device)
    results = []
    few = case.channels > EXACT_CHANNELS and "f" in case.dtypes[:2]  # only with TF32
    for backend in ("tiles", "triton"):
        torch.backends.cuda.matmul.fp32_precision = "tf32" if few else "ieee"
        out = restricted_attention(*tensors, case.radius, backend=backend, **case.options)
        incoming = torch.linspace(-1, 1, out.numel(), device=device).view(out.shape).to(out.dtype)
        results.append([out, *torch.autograd.grad(out, tensors, incoming)])
        kinds = [tensors[2].dtype, *(tensor.dtype for tensor in tensors)]
        assert [tensor.dtype for tensor in results[-1]] == kinds
    exact, kernel = results
    kinds = (case.dtypes[2], *case.dtypes)
    for name, kind, a, b in zip(
        ("out", "query", "key", "value"), kinds, exact, kernel, strict=True
    ):
        assert a.shape == b.shape
        a, b = a.detach().double(), b.detach().double()
        slack = (TF32 if few and device == "cuda" else SLACK[kind]) * (1 + a.abs())
        scale = abs(case.options.get("scale", 1.0)) if name != "out" else 1.0
        found[name] = float(((a - b).abs() / slack).max()) / max(1.0, scale)
    return found


def normaliser_difference(case: Case, device: str = "cpu") -> float:
    tensors = [tensor.detach() for tensor in inputs(case, device)]
    options = {"dilation": 1, "scale": 1.0, "border": "exclude", "window": "square"} | case.options
    _, exact = attention_part(*(t.cpu() for t in tensors), case.radius, **options)
    _, found = fused_attention(*tensors, case.radius, **options)
    return float((exact - found.cpu()).abs().max() / exact.abs().max().clamp(min=1))


def elsewhere(check: Callable[..., Any], *args: Any, interpreter: bool = True) -> Any:
    """What a function gives in a process of its own, where Triton's interpreter runs the kernels.

    Triton decides about that when it is imported.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_elsewhere, args=(check, args, interpreter, there))
    process.start()
    there.close()
    try:
        found = here.recv()
    finally:
        process.join()
    if isinstance(found, Exception):
        raise found
    return found


def _elsewhere(
    check: Callable[..., Any], args: tuple[Any, ...], interpreter: bool, pipe: Connection
) -> None:
    os.environ["TRITON_INTERPRET"] = str(int(interpreter))
    for name in list(sys.modules):  # of another test; its compiled part can be loaded once only
        if name.split(".")[0] == "triton" and not name.startswith("triton._C"):
            del sys.modules[name]
    sys.modules.pop("selfsup_motion.ops.attention.triton_kernels", None)
    try:
        pipe.send(check(*args))
    except Exception as error:
        pipe.send(AssertionError(f"{type(error).__name__}: {error}"))

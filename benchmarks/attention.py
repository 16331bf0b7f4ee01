"""Restricted attention: tiles against the other exact forms, and against those that are not exact.

    python benchmarks/attention.py [--device cuda]

B=2, C=256, 64 × 64, radius 6, 16 channels copied (CorrFlow at 256 × 256 pixels). The bound counts
needed products only, at the rate of large matrix products. On a GPU everything is in bfloat16, in
which training computes features there. `flex_attention` and `natten` have no
backward pass on a CPU; natten, where it can be imported, wants as many channels copied as compared,
and moves the windows at the borders inwards instead of cutting them off, so that its result differs
there.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from measuring import Call, Comparison, Make, run
from torch import Tensor

from selfsup_motion.ops.attention import restricted_attention

BATCH, CHANNELS, SIDE, RADIUS, COPIED, SCALE = 2, 256, 64, 6, 16, 0.0625
POSITIONS = (2 * RADIUS + 1) ** 2
FORWARD = BATCH * SIDE**2 * POSITIONS * (CHANNELS + COPIED) * 2
BOTH = 3 * FORWARD
"""Operations of scores and copies; and, backwards, of the gradients with respect to query, key,
weights and values."""

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def dtype(device: str) -> torch.dtype:
    return torch.bfloat16 if device == "cuda" else torch.float32


def inputs(device: str, gradients: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(BATCH, n, SIDE, SIDE, generator=generator).to(device, dtype(device))
        for n in (CHANNELS, CHANNELS, COPIED, COPIED)
    ]
    return [*(tensor.requires_grad_(gradients) for tensor in made[:3]), made[3]]


def ours(backend: str, device: str) -> Attention:
    return partial(restricted_attention, radius=RADIUS, scale=SCALE, backend=backend)  # type: ignore[arg-type]


def in_window(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
    rows = (query // SIDE - key // SIDE).abs() <= RADIUS
    return rows & ((query % SIDE - key % SIDE).abs() <= RADIUS)


def as_sequence(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)[:, None]


def as_map(x: Tensor) -> Tensor:
    return x[:, 0].transpose(1, 2).unflatten(2, (SIDE, SIDE))


def masked(device: str) -> Attention:
    places = torch.arange(SIDE**2, device=device)
    mask = in_window(places, places, places[:, None], places[None])

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        sequences = map(as_sequence, (query, key, value))
        return as_map(F.scaled_dot_product_attention(*sequences, attn_mask=mask, scale=SCALE))

    return attend


def flex(device: str) -> Attention:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    blocks = create_block_mask(in_window, None, None, SIDE**2, SIDE**2, device=device)
    compiled = torch.compile(flex_attention)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        sequences = map(as_sequence, (query, key, value))
        return as_map(compiled(*sequences, block_mask=blocks, scale=SCALE))

    return attend


def neighbourhood(device: str) -> Attention:
    from natten.functional import na2d

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        wide = F.pad(value, (0, 0, 0, 0, 0, CHANNELS - COPIED))
        maps = (x.permute(0, 2, 3, 1)[:, :, :, None] for x in (query, key, wide))
        out = na2d(*maps, kernel_size=(2 * RADIUS + 1,) * 2, scale=SCALE)
        return out[:, :, :, 0, :COPIED].permute(0, 3, 1, 2)

    return attend


def both_ways(form: Callable[[str], Attention], device: str) -> Make:
    def make() -> Call:
        query, key, value, gradient = inputs(device, gradients=True)
        attend = form(device)

        def call() -> float:
            found = torch.autograd.grad(attend(query, key, value), (query, key, value), gradient)
            return float(sum(g.double().abs().sum() for g in found))

        return call

    return make


def forward(form: Callable[[str], Attention], device: str) -> Make:
    def make() -> Call:
        query, key, value, _ = inputs(device, gradients=False)
        attend = form(device)
        return lambda: float(attend(query, key, value).double().abs().sum())

    return make


def bound(operations: int, device: str) -> Make:
    """As many operations in products of 1024 × 1024 matrices."""

    def make() -> Call:
        a = torch.randn(1024, 1024, device=device, dtype=dtype(device))
        whole, rest = divmod(operations, 2 * 1024**3)
        part = a[: round(1024 * rest / (2 * 1024**3))]

        def call() -> None:
            for _ in range(whole):
                a @ a
            part @ a

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    exact: dict[str, Callable[[str], Attention]] = {
        "unfold": partial(ours, "unfold"),
        "tiles": partial(ours, "tiles"),
        "`scaled_dot_product_attention`, masked": masked,
    }
    more, inexact, missing = {"`flex_attention`, compiled": flex}, {}, []
    if device == "cpu" and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        more = {}
        missing.append("flex_attention (no C++ compiler was found)")
    if importlib.util.find_spec("natten"):
        inexact = {"natten, other borders": neighbourhood}
    else:
        missing.append("natten (not installed)")
    if device == "cuda":
        exact["triton"] = partial(ours, "triton")
    trained = exact | more | inexact if device == "cuda" else exact
    rounding = 2e-2 if device == "cuda" else 1e-3

    def cases(name: str, forms: dict[str, Callable[[str], Attention]], both: bool) -> Comparison:
        made = {key: (both_ways if both else forward)(f, device) for key, f in forms.items()}
        made["bound: needed products alone"] = bound(BOTH if both else FORWARD, device)
        left_out = ", ".join(missing)
        if both and device == "cpu":
            left_out = "flex_attention and natten, which have no backward pass on a CPU"
        note = f"Left out: {left_out}." if left_out else ""
        # natten's borders: it agrees in the middle only
        return Comparison(name, made, repeats=9, agree=0.1 if inexact else rounding, note=note)

    return [
        cases("forward and backward", trained, both=True),
        cases("forward", exact | more | inexact, both=False),
    ]


if __name__ == "__main__":
    run(comparisons)

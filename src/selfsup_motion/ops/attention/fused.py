"""Restricted attention as one kernel per pass, on NVIDIA GPUs: when it is used, and its operators.

The operators are known to PyTorch by name (`torch.ops.selfsup_motion.window_attention`), so that
tensors without content and `torch.compile` know their shapes without running anything. On a CPU the
tiles compute the same, or Triton's interpreter (TRITON_INTERPRET=1).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from selfsup_motion.ops.attention.launch import Launch, gradient, interpreted, outputs, tf32
from selfsup_motion.ops.attention.layout import Layout, Window
from selfsup_motion.ops.attention.phases import Border, join_phases, split_phases
from selfsup_motion.ops.attention.tiles import Tiles

CHANNELS, EXACT_CHANNELS, COPIED = 256, 64, 64
"""As many channels of query, of query in float32 without TF32, and of value as a program can add up
gradients of: with more, numbers would leave the registers."""

_TRITON = importlib.util.find_spec("triton") is not None
_LEAST_CAPABILITY = 8
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def obstacle(query: Tensor, key: Tensor, value: Tensor, top_k: int | None) -> str | None:
    """Why the kernels cannot compute this; None if they can.

    Args:
        query: (B, C, H, W).
        key: (B, N, C, H, W).
        value: (B, N, D, H, W).
        top_k: of `restricted_attention`.
    """
    if top_k is not None:
        return "it has no top_k"
    kinds = {tensor.dtype for tensor in (query, key, value)}
    if not kinds <= set(_DTYPES):
        return f"it computes in float32, got {', '.join(sorted(map(str, kinds)))}"
    exact = torch.promote_types(query.dtype, key.dtype) == torch.float32 and not tf32()
    most = EXACT_CHANNELS if exact else CHANNELS
    if query.shape[1] > most or value.shape[2] > COPIED:
        return (
            f"it takes up to {CHANNELS} channels of query and key ({EXACT_CHANNELS} in float32 "
            f'without torch.set_float32_matmul_precision("high")) and {COPIED} of value, '
            f"got {query.shape[1]} and {value.shape[2]}"
        )
    if 0 in (*query.shape, *value.shape):
        return "there is nothing to compute"
    largest = max(query.shape[1:].numel(), value.shape[2:].numel())
    if largest >= 2**31 or key.shape[:2].numel() >= 2**16:
        return "its numbers of pixels and images have 31 and 16 bits"
    if query.device.type == "cuda":
        return _missing(query.device.index or 0)
    return None if query.device.type == "cpu" and interpreted() else "it needs a CUDA device"


def _missing(device: int) -> str | None:
    """What a CUDA device lacks."""
    if not _TRITON:
        return "it needs triton, which cannot be imported"
    # without a device, tensors only say that they are on one
    if torch.cuda.is_available():
        if torch.version.hip is not None:
            return "it needs a GPU of NVIDIA"
        found = torch.cuda.get_device_properties(device)
        if found.major < _LEAST_CAPABILITY:
            return f"it needs compute capability 8.0, this GPU has {found.major}.{found.minor}"
    return None


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int | None,
    dilation: int,
    scale: float,
    border: Border,
    window: Window,
) -> tuple[Tensor, Tensor]:
    """Restricted attention, differentiable once.

    Args:
        query: (B, C, H, W).
        key: (B, N, C, H, W).
        value: (B, N, D, H, W); for all three, `obstacle` says None.
        radius: and all others as of `restricted_attention`.

    Returns:
        The copy (B, D, H, W) and the log of the softmax's denominator (B, 1, H, W), in float32.
    """
    height, width = query.shape[-2:]
    zero = border == "zero" and radius is not None
    reach = max(height, width) if radius is None else radius
    kind = torch.promote_types(query.dtype, key.dtype)
    last = (
        query.to(kind).permute(0, 2, 3, 1),
        key.to(kind).permute(0, 1, 3, 4, 2),
        value.permute(0, 1, 3, 4, 2),
    )
    out, normaliser = window_attention(*last, reach, dilation, scale, window == "disc", zero)
    return out.permute(0, 3, 1, 2), normaliser[:, None]


@torch.library.custom_op("selfsup_motion::window_attention", mutates_args=(), device_types="cuda")
def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int,
    dilation: int,
    scale: float,
    disc: bool,
    zero: bool,
) -> tuple[Tensor, Tensor]:
    """Restricted attention with channels last.

    Args:
        query: (B, H, W, C).
        key: (B, N, H, W, C), of query's dtype.
        value: (B, N, H, W, D).
        radius: and dilation and scale as of `restricted_attention`.
        disc: whether the window is one.
        zero: whether cells outside the image take part, with scores and values of zero.

    Returns:
        Copies (B, H, W, D) and logs of the softmax's denominators (B, H, W), float32.
    """
    return Launch(query, key, value, radius, dilation, scale, disc).forward(zero)


@window_attention.register_kernel("cpu")
def _on_the_cpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int,
    dilation: int,
    scale: float,
    disc: bool,
    zero: bool,
) -> tuple[Tensor, Tensor]:
    if interpreted():
        return Launch(query, key, value, radius, dilation, scale, disc).forward(zero)
    images = query.permute(0, 3, 1, 2), key.permute(0, 1, 4, 2, 3), value.permute(0, 1, 4, 2, 3)
    inputs = split_phases(*images, dilation, "zero" if zero else "exclude")
    size = inputs.query.shape[-2], inputs.query.shape[-1]
    layout = Layout(size, radius, "disc" if disc else "square", query.device)
    copy, normaliser = (
        join_phases(x, dilation, query.shape[1:3])
        for x in Tiles(layout, inputs, scale).copied_and_normaliser()
    )
    found = outputs(query, value)
    found[0].copy_(copy.permute(0, 2, 3, 1))
    found[1].copy_(normaliser[:, 0])
    return found


@torch.library.custom_op(
    "selfsup_motion::window_attention_query_gradient",
    mutates_args=(),
    device_types=("cuda", "cpu"),
)
def query_gradient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    incoming: Tensor,
    normaliser: Tensor,
    along: Tensor,
    radius: int,
    dilation: int,
    scale: float,
    disc: bool,
) -> Tensor:
    """The gradient (B, H, W, C) of `window_attention`'s query, float32.

    Args:
        query: and all others as of `window_attention`.
        incoming: (B, H, W, D), the gradient of its copies.
        normaliser: (B, H, W), its result.
        along: (B, H, W), the product of the copies and their gradient, less the normaliser's.
    """
    launch = Launch(query, key, value, radius, dilation, scale, disc)
    return launch.query_gradient(incoming, normaliser, along)


@torch.library.custom_op(
    "selfsup_motion::window_attention_key_gradients",
    mutates_args=(),
    device_types=("cuda", "cpu"),
)
def key_gradients(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    incoming: Tensor,
    normaliser: Tensor,
    along: Tensor,
    radius: int,
    dilation: int,
    scale: float,
    disc: bool,
) -> tuple[Tensor, Tensor]:
    """The gradients of `window_attention`'s key and value, float32; see `query_gradient`."""
    launch = Launch(query, key, value, radius, dilation, scale, disc)
    return launch.key_gradients(incoming, normaliser, along)


@window_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return outputs(query, value)


@query_gradient.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return gradient(query)


@key_gradients.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return gradient(key), gradient(value)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)
    ctx.options = inputs[3:7]


def _backward(ctx: Any, incoming: Tensor, of_normaliser: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, out, normaliser = ctx.saved_tensors
    # softmax: dscore = weight · (dweight − Σ weight · dweight), and the sum is out · dout
    along = (out * incoming).sum(-1) - of_normaliser
    given = (query, key, value, incoming, normaliser, along, *ctx.options)
    needed = ctx.needs_input_grad
    found: list[Tensor | None] = [None] * 3
    if needed[0]:
        found[0] = query_gradient(*given).to(query.dtype)
    if needed[1] or needed[2]:
        of_key, of_value = key_gradients(*given)
        found[1:] = of_key.to(key.dtype), of_value.to(value.dtype)
    return *found, None, None, None, None, None


window_attention.register_autograd(_backward, setup_context=_remember)

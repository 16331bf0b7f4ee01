"""Restricted attention: every pixel of one frame copies from a window of other frames.

    copy[x] = Σ_y softmax_y(scale · query[x] · key[y]) · value[y],   y in the window around x

This is CorrFlow's pointer (Lai & Xie 2019, section 3.1) and the propagation step of MAST and CRW.
On any device in plain PyTorch, see `layout` for how it is made fast; on NVIDIA GPUs in kernels of
Triton, see `triton_kernels`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from selfsup_motion.ops.attention.autograd import Attention, Correlation
from selfsup_motion.ops.attention.fused import fused_attention, obstacle
from selfsup_motion.ops.attention.layout import Layout, Window
from selfsup_motion.ops.attention.phases import Border, join_phases, split_phases
from selfsup_motion.ops.attention.unfold import unfold_attention, unfold_correlation

Backend = Literal["auto", "tiles", "triton", "unfold"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


def restricted_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int | None,
    *,
    dilation: int = 1,
    scale: float = 1.0,
    border: Border = "exclude",
    window: Window = "square",
    top_k: int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Copy `value` from where `key` resembles `query`, within a window around each pixel.

    With N references, one softmax runs over the windows of all of them. Differentiable (once) in
    query, key and value. Computed in float32 at least; the result has the dtype of `value`.

    Args:
        query: (B, C, H, W) floating point.
        key: (B, C, H, W), or (B, N, C, H, W): N references.
        value: (B, D, H, W), or (B, N, D, H, W), what is copied.
        radius: of the window, in steps of `dilation`; a square window has (2·radius + 1)²
            positions. None: all positions of the references.
        dilation: distance between the positions of a window, in pixels.
        scale: factor on the dot products, such as 1 / temperature.
        border: what positions outside the image do: "exclude" leaves them out (CorrFlow, CRW);
            "zero" gives them a score of 0 and a value of 0 (MAST).
        window: "square", or "disc": only positions whose Euclidean distance, in steps, is less
            than `radius` (CRW).
        top_k: only the `top_k` highest scores of a pixel take part, over all references together.
        backend: "tiles"; "triton", the same in one kernel, for GPUs; "unfold", the textbook form:
            slow, large, good for checking; "auto": "triton" on CUDA where it can compute the case
            (no `top_k`, no float64, C ≤ 256, D ≤ 64, compute capability 8.0), else "tiles".

    Returns:
        (B, D, H, W).

    Raises:
        ValueError: shapes that do not fit, an argument out of range, or a case that
            backend="triton" cannot compute.
    """
    key, value = references(query, key, value)
    check_window(radius, dilation, border, window, top_k)
    one_of("backend", backend, BACKENDS)
    if backend == "unfold":
        if radius is None:
            raise ValueError("the unfold backend needs a radius")
        return unfold_attention(
            query, key, value, radius, dilation, scale, border == "exclude", window, top_k
        )
    # an exported program shall not need this package
    choose = backend == "auto" and not torch.compiler.is_exporting()
    if backend == "triton" or (choose and query.device.type == "cuda"):
        why_not = obstacle(query, key, value, top_k)
        if why_not is None:
            out, _ = fused_attention(query, key, value, radius, dilation, scale, border, window)
            return out.to(value.dtype)
        if backend == "triton":
            raise ValueError(f"backend=triton cannot compute this: {why_not}")
    tensors = split_phases(query, key, value, dilation, border)
    layout = Layout((tensors[0].shape[-2], tensors[0].shape[-1]), radius, window, query.device)
    with torch.autocast(query.device.type, enabled=False):
        out = Attention.apply(layout, scale, top_k, *tensors)
    return join_phases(out, dilation, query.shape[-2:])


def local_correlation(
    query: Tensor, key: Tensor, radius: int, *, dilation: int = 1, backend: Backend = "auto"
) -> Tensor:
    """Dot product of every pixel with the pixels of a square window around it.

    Differentiable (once). Positions outside the image give 0.

    Args:
        query: (B, C, H, W) floating point.
        key: (B, C, H, W).
        radius: of the window, in steps of `dilation`.
        dilation: distance between the positions of a window, in pixels.
        backend: "tiles", "unfold", or "auto": tiles.

    Returns:
        (B, (2·radius + 1)², H, W) of query's dtype, the window row by row: channel
        (i + radius)·(2·radius + 1) + j + radius is the product with the pixel i steps down and
        j steps to the right.

    Raises:
        ValueError: shapes that do not fit, or an argument out of range.
    """
    if query.shape != key.shape or query.dim() != 4:
        raise ValueError(
            f"query and key must both be (B, C, H, W), got {_shape(query)} and {_shape(key)}"
        )
    check_window(radius, dilation, "zero", "square", None)
    one_of("backend", backend, tuple(name for name in BACKENDS if name != "triton"))
    if backend == "unfold":
        return unfold_correlation(query, key, radius, dilation)
    q, k, _, _ = split_phases(query, key[:, None], key[:, None, :0], dilation, "zero")
    layout = Layout((q.shape[-2], q.shape[-1]), radius, "square", query.device)
    with torch.autocast(query.device.type, enabled=False):
        out: Tensor = Correlation.apply(layout, q, k)
    return join_phases(out, dilation, query.shape[-2:])


def references(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Key (B, N, C, H, W) and value (B, N, D, H, W) from either form, checked against the query.

    Raises:
        ValueError: shapes or dtypes that do not fit.
    """
    if key.dim() == 4 and value.dim() == 4:
        key, value = key[:, None], value[:, None]
    shapes = f"query {_shape(query)}, key {_shape(key)}, value {_shape(value)}"
    if query.dim() != 4 or key.dim() != 5 or value.dim() != 5:
        raise ValueError(
            f"attention takes query (B, C, H, W), key (B, [N,] C, H, W) and value (B, [N,] D, H, W)"
            f", got {shapes}"
        )
    batch, channels, height, width = query.shape
    fits = key.shape == (batch, key.shape[1], channels, height, width)
    if not fits or value.shape != (batch, key.shape[1], value.shape[2], height, width):
        raise ValueError(f"the shapes of query, key and value do not fit: {shapes}")
    if not all(tensor.is_floating_point() for tensor in (query, key, value)):
        raise ValueError(
            f"attention takes floating-point tensors, got {query.dtype}, {key.dtype}, {value.dtype}"
        )
    return key, value


def check_window(
    radius: int | None, dilation: int, border: Border, window: Window, top_k: int | None
) -> None:
    """Raise a ValueError that names the argument that is out of range."""
    one_of("border", border, ("exclude", "zero"))
    one_of("window", window, ("square", "disc"))
    if dilation < 1 or (top_k is not None and top_k < 1):
        raise ValueError(f"dilation and top_k must be at least 1, got {dilation} and {top_k}")
    if radius is None:
        if dilation != 1 or window != "square":
            raise ValueError("without a radius there is no window to dilate or to make a disc of")
    elif radius < (window == "disc"):
        raise ValueError(f"radius of a {window} must be at least {int(window == 'disc')}: {radius}")


def one_of(name: str, value: str, options: tuple[str, ...]) -> None:
    """Raise a ValueError if `value` is none of the options."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)

"""Cross-entropy of bilinearly upsampled class scores, without ever holding the upsampled scores.

CMP compares 2 x 99 class maps at stride 8 or 32 with labels at full resolution. Upsampling first
costs 198 full-resolution maps several times over (scores, log-softmax, their gradients) and is the
memory peak of the whole method. Here one tile of one sample at a time is upsampled, turned into
loss and gradient while it is in the cache, and dropped; what is kept for the backward pass has
the size of the low-resolution scores. The value and the gradient are those of the direct form.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.masks import check_labels, check_weight

# On a CPU a tile should stay in the cache, with its halves that are enlarged along one axis only:
# together so many scores (2.4 MiB in float32). Larger and smaller ones were slower.
_SCORES_CPU = 640_000
# A GPU wants few and large steps, so that the host stays ahead of it: tiles of up to so many scores
# (64 MiB in float32), as many samples and axes at once as fit. A plane of 384 x 384 x 99 has 15 M.
_SIDE_DEVICE = 512
_SCORES_DEVICE = 1 << 24
# Above this, exp is a normal number of float32; below, nothing, and ten times slower to compute.
_LOWEST = -80.0


def upsampled_cross_entropy(scores: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy of `scores`, upsampled to the size of `labels`.

    Equals `(F.cross_entropy(F.interpolate(scores_a, labels.shape[-2:], mode="bilinear",
    align_corners=True), labels_a, reduction="none") * weight).sum()`, summed over the axes `a`.
    The interpolation is a matrix product, so on CUDA it follows
    `torch.set_float32_matmul_precision`.

    Args:
        scores: (B, A, N, h, w) unnormalised log-probabilities of N classes for A independent axes.
            Half precision is computed in float32.
        labels: (B, A, H, W) int64 in [0, N).
        weight: (B, H, W) weight of each pixel, the same for all axes; no gradient.

    Returns:
        Scalar, float32 (float64 for float64 scores). Differentiable once, in `scores`.

    Raises:
        ValueError: labels or weights of another type or shape.
    """
    batch, axes = scores.shape[:2]
    check_labels("labels", labels, (batch, axes, *labels.shape[-2:]))
    check_weight("weight", weight, (batch, *labels.shape[-2:]))
    result: Tensor = _UpsampledCrossEntropy.apply(scores, labels, weight)
    return result


class _UpsampledCrossEntropy(torch.autograd.Function):
    """Computes the gradient in the forward pass, where the softmax is at hand anyway."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
        needs_grad = ctx.needs_input_grad[0]
        with torch.autocast(scores.device.type, enabled=False):
            loss, grad = _loss_and_grad(scores.to(dtype), labels, weight.to(dtype), needs_grad)
        if grad is not None:
            ctx.save_for_backward(grad)
            ctx.dtype = scores.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        # Scaled first, in full precision: unscaled gradients of a mean would vanish in float16.
        if torch._C._autograd._get_current_graph_task_keep_graph():
            grad = grad * grad_output
        else:  # nobody will ask for it again: a second tensor of this size would be the peak
            grad.mul_(grad_output)
        return grad.to(ctx.dtype), None, None


def _loss_and_grad(
    scores: Tensor, labels: Tensor, weight: Tensor, needs_grad: bool
) -> tuple[Tensor, Tensor | None]:
    batch, axes, classes, height, width = scores.shape
    full_height, full_width = labels.shape[-2:]
    on_cpu = scores.device.type == "cpu"
    side = math.isqrt(int(_SCORES_CPU / (classes * (1 + 2 * width / full_width)))) or 1
    most = 1
    if not on_cpu:
        side = _SIDE_DEVICE
        most = _SCORES_DEVICE // (classes * min(side, full_height) * min(side, full_width))
    rows = _tiles(height, full_height, side, scores)
    columns = _tiles(width, full_width, side, scores)

    loss = scores.new_zeros(())
    grad = torch.zeros_like(scores) if needs_grad else None
    for planes in itertools.product(_runs(batch, most // axes), _runs(axes, most)):
        # Rows first, and classes last: then the softmax runs along contiguous memory.
        source = scores[planes].permute(3, 0, 1, 4, 2)  # (h, S, A, w, N)
        target = None if grad is None else grad[planes].permute(3, 0, 1, 4, 2)
        label = labels[planes].permute(2, 0, 1, 3)  # (H, S, A, W)
        label_weight = weight[planes[0], None].permute(2, 0, 1, 3).expand(label.shape)
        for row, column in itertools.product(rows, columns):
            part = source[row.source, :, :, column.source].contiguous()
            shape, calm = part.shape, False  # (r, S, A, c, N)
            if on_cpu:
                # What lies between scores of at most 0 is at most 0. If none is far below, exp can
                # be taken of it as it is: that saves three of the ways through the upsampled tile.
                part = part - part.amax(-1, keepdim=True)
                calm = bool(part.amin() > _LOWEST)  # would have to wait for a device
            part = (row.matrix @ part.reshape(shape[0], -1)).view(-1, shape[3], classes)
            full = torch.matmul(column.matrix, part)  # (R S A, C, N), of the upsampled scores
            if not calm:
                full -= full.amax(-1, keepdim=True)
            index, tile_weight = (
                x[row.target, :, :, column.target].reshape(*full.shape[:2], 1)
                for x in (label, label_weight)
            )
            hit = full.gather(-1, index)
            full = (full if calm else full.clamp_(min=_LOWEST)).exp_()
            total = full.sum(-1, keepdim=True)  # (R S A, C, 1)
            loss += ((total.log() - hit) * tile_weight).sum()
            if target is not None:
                full *= tile_weight / total
                full.scatter_add_(-1, index, -tile_weight)
                part_grad = torch.matmul(column.matrix.T, full)  # (R S A, c, N)
                tile_grad = row.matrix.T @ part_grad.view(len(row.matrix), -1)
                target[row.source, :, :, column.source].add_(tile_grad.view(shape))
    return loss, grad


def _runs(size: int, most: int) -> list[slice]:
    """0 to `size` in runs of at most `most`, at least one each."""
    step = max(1, most)
    return [slice(first, first + step) for first in range(0, size, step)]


class _Tile(NamedTuple):
    """A run of target positions, the source positions it depends on, and how."""

    target: slice
    source: slice
    matrix: Tensor  # (targets, sources)


def _tiles(in_size: int, out_size: int, side: int, like: Tensor) -> list[_Tile]:
    """Linear interpolation with aligned corners from `in_size` to `out_size`, tile by tile."""
    # in NumPy: where tiles begin and end must be known here
    step = (in_size - 1) / (out_size - 1) if out_size > 1 else 0.0
    position = np.arange(out_size, dtype=np.float64) * step
    lower = np.floor(position).astype(np.int64).clip(max=in_size - 1)
    upper = (lower + 1).clip(max=in_size - 1)
    fraction = position - lower
    weights = np.zeros((out_size, in_size))
    index = np.arange(out_size)
    weights[index, lower] += 1 - fraction
    weights[index, upper] += fraction
    tiles = []
    side = math.ceil(out_size / math.ceil(out_size / side))  # tiles of about the same size
    for first in range(0, out_size, side):
        last = min(first + side, out_size) - 1
        target = slice(first, last + 1)
        source = slice(int(lower[first]), int(upper[last]) + 1)
        tiles.append(_Tile(target, source, constant_like(weights[target, source], like)))
    return tiles

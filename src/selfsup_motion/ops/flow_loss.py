"""Cross-entropy of bilinearly upsampled class scores, without ever holding the upsampled scores.

CMP compares 2 x 99 class maps at stride 8 or 32 with labels at full resolution. Upsampling first
costs 198 full-resolution maps several times over (scores, log-softmax, their gradients) and is the
memory peak of the whole method. Here a few rows of one sample at a time are upsampled, turned into
loss and gradient while they are in the cache, and dropped; what is kept for the backward pass has
the size of the low-resolution scores. The value and the gradient are those of the direct form.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores held at once. On a CPU a block should stay in the second-level cache; on a GPU it should be
# large enough to fill the device.
_BLOCK_ELEMENTS_CPU = 1 << 17
_BLOCK_ELEMENTS_DEVICE = 1 << 25


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
    """
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
            ctx.save_for_backward(grad.to(scores.dtype))
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grad_output.to(grad.dtype), None, None


def _loss_and_grad(
    scores: Tensor, labels: Tensor, weight: Tensor, needs_grad: bool
) -> tuple[Tensor, Tensor | None]:
    batch, axes, classes, in_height, in_width = scores.shape
    height, width = labels.shape[-2:]
    rows_of = _interpolation_matrix(in_height, height, scores)  # (H, h)
    columns_of = _interpolation_matrix(in_width, width, scores)  # (W, w)
    is_cpu = scores.device.type == "cpu"
    budget = _BLOCK_ELEMENTS_CPU if is_cpu else _BLOCK_ELEMENTS_DEVICE
    rows = min(height, max(1, budget // (width * classes)))

    loss = scores.new_zeros(())
    grad = torch.zeros_like(scores) if needs_grad else None
    for sample in range(batch):
        for axis in range(axes):
            # Classes last: then the softmax runs along contiguous memory.
            source = scores[sample, axis].permute(1, 2, 0).reshape(in_height, -1)  # (h, w N)
            source_grad = torch.zeros_like(source) if needs_grad else None
            for top in range(0, height, rows):
                block = slice(top, min(top + rows, height))
                matrix = rows_of[block]  # (R, h)
                part = (matrix @ source).view(-1, in_width, classes)  # (R, w, N)
                full = torch.matmul(columns_of, part)  # (R, W, N)
                full -= full.amax(-1, keepdim=True)
                index = labels[sample, axis, block].unsqueeze(-1)
                hit = full.gather(-1, index)
                total = full.exp_().sum(-1, keepdim=True)  # (R, W, 1)
                pixel_weight = weight[sample, block].unsqueeze(-1)
                loss += ((total.log() - hit) * pixel_weight).sum()
                if source_grad is not None:
                    full *= pixel_weight / total
                    full.scatter_add_(-1, index, -pixel_weight)
                    part_grad = torch.matmul(columns_of.T, full)  # (R, w, N)
                    source_grad.addmm_(matrix.T, part_grad.view(len(part), -1))
            if grad is not None and source_grad is not None:
                cells = source_grad.view(in_height, in_width, classes)
                grad[sample, axis] = cells.permute(2, 0, 1)
    return loss, grad


def _interpolation_matrix(in_size: int, out_size: int, like: Tensor) -> Tensor:
    """(out_size, in_size) matrix of linear interpolation with aligned corners."""
    step = (in_size - 1) / (out_size - 1) if out_size > 1 else 0.0
    position = torch.arange(out_size, dtype=torch.float64) * step
    lower = position.floor().clamp(max=in_size - 1).long()
    upper = (lower + 1).clamp(max=in_size - 1)
    fraction = position - lower
    matrix = torch.zeros(out_size, in_size, dtype=torch.float64)
    index = torch.arange(out_size)
    matrix[index, lower] += 1 - fraction
    matrix[index, upper] += fraction
    return matrix.to(like)

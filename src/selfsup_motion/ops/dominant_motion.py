"""The motion that most of a flow field shares: the camera's, as a rule."""

from __future__ import annotations

import torch
from torch import Tensor

_ITERATIONS = 8
_STEP = 4
"""Every fourth row and column is enough for six unknowns."""


def dominant_motion(flow: Tensor, valid: Tensor | None = None, scale: float = 0.5) -> Tensor:
    """Fit one affine motion per field that outliers cannot pull away.

    Iteratively reweighted least squares with Cauchy weights, started from the componentwise median.

    Args:
        flow: (B, 2, H, W) in pixels.
        valid: (B, H, W) bool: pixels that count. None: all.
        scale: pixels: residual at which a pixel's weight is halved, at the last iteration.

    Returns:
        (B, 2, H, W): the fitted motion at every pixel.
    """
    batch, _, height, width = flow.shape
    ys, xs = (
        torch.linspace(-1, 1, n, device=flow.device, dtype=flow.dtype) for n in (height, width)
    )
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    design = torch.stack([torch.ones_like(x), x, y], -1)  # (H, W, 3)

    coarse = design[::_STEP, ::_STEP].flatten(0, 1)  # (N, 3)
    target = flow[:, :, ::_STEP, ::_STEP].flatten(2).transpose(1, 2)  # (B, N, 2)
    known = torch.ones_like(target[..., 0])
    if valid is not None:
        known = valid[:, ::_STEP, ::_STEP].flatten(1).to(flow.dtype)
        target = torch.where(known[..., None] > 0, target, 0)

    masked = target.masked_fill(known[..., None] == 0, float("nan"))
    median = masked.nanmedian(1, keepdim=True).values.nan_to_num()  # (B, 1, 2)
    residual = (target - median).norm(dim=-1)
    ridge = 1e-6 * torch.eye(3, device=flow.device, dtype=flow.dtype)
    solution = flow.new_zeros(batch, 3, 2)
    for iteration in range(_ITERATIONS):
        # from tolerant to strict, so that a median off the plane does not decide
        tolerance = scale * 2.0 ** max(0, _ITERATIONS - 3 - iteration)
        weight = known / (1 + (residual / tolerance).square())  # (B, N)
        weighted = coarse.T * weight[:, None]  # (B, 3, N)
        normal, wanted = weighted @ coarse + ridge, (weighted @ target).to(ridge.dtype)
        # `solve` would make the host wait, to know whether the matrix is singular: the ridge is not
        solution = torch.linalg.solve_ex(normal, wanted).result
        residual = (target - coarse @ solution).norm(dim=-1)
    return (design @ solution[:, None]).permute(0, 3, 1, 2)

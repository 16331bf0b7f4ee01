"""The motion that most of a flow field shares: the camera's, as a rule."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.ops.masks import check_mask

_ITERATIONS = 8
_STEP = 4
"""Every fourth row and column is enough for six unknowns."""
_RIDGE = 1e-9
"""Share of the weights that speaks for the median motion everywhere: it decides where the pixels
say nothing, as a single one does of a rotation."""


def dominant_motion(flow: Tensor, valid: Tensor | None = None, scale: float = 0.5) -> Tensor:
    """Fit one affine motion per field that outliers cannot pull away.

    Iteratively reweighted least squares with Cauchy weights, started from the componentwise median.
    Only pixels of every fourth row and column are looked at. What they leave open, a single one or
    a line of them, is as near to one motion everywhere, their median, as possible.

    Args:
        flow: (B, 2, H, W) in pixels, finite where valid.
        valid: (B, H, W) bool: pixels that count. None: all.
        scale: pixels: residual at which a pixel's weight is halved, at the last iteration.

    Returns:
        (B, 2, H, W): the fitted motion at every pixel, in the type of `flow`; zero if no pixel that
        is looked at counts.

    Raises:
        ValueError: a mask that is not bool or of another shape.
    """
    height, width = flow.shape[-2:]
    if valid is not None:
        check_mask("valid", valid, (flow.shape[0], height, width))
    # few numbers, and float32 cannot tell the matrix of pixels on a line from a singular one
    ys, xs = (
        torch.linspace(-1, 1, n, device=flow.device, dtype=torch.float64) for n in (height, width)
    )
    y, x = torch.meshgrid(ys[::_STEP], xs[::_STEP], indexing="ij")
    design = torch.stack([torch.ones_like(x), x, y], -1).flatten(0, 1)  # (N, 3)
    target = flow[:, :, ::_STEP, ::_STEP].flatten(2).transpose(1, 2).double()  # (B, N, 2)
    known = torch.ones_like(target[..., 0])
    if valid is not None:
        known = valid[:, ::_STEP, ::_STEP].flatten(1).double()
    masked = target.masked_fill(known[..., None] == 0, float("nan"))
    median = masked.nanmedian(1, keepdim=True).values.nan_to_num()  # (B, 1, 2)
    target = torch.where(known[..., None] > 0, target - median, 0)

    residual = target.norm(dim=-1)
    unit = torch.eye(3, device=flow.device, dtype=torch.float64)
    solution = target.new_zeros(len(flow), 3, 2)
    for iteration in range(_ITERATIONS):
        # from tolerant to strict, so that a median off the plane does not decide
        tolerance = scale * 2.0 ** max(0, _ITERATIONS - 3 - iteration)
        weight = known / (1 + (residual / tolerance).square())  # (B, N)
        weighted = design.T * weight[:, None]  # (B, 3, N)
        ridge = (_RIDGE * weight.sum(1)).clamp(min=1e-30)[:, None, None] * unit
        # `solve` would make the host wait, to know whether the matrix is singular: the ridge is not
        solution = torch.linalg.solve_ex(weighted @ design + ridge, weighted @ target).result
        residual = (target - design @ solution).norm(dim=-1)
    solution = torch.cat([solution[:, :1] + median, solution[:, 1:]], 1)
    dtype = torch.promote_types(flow.dtype, torch.float32)
    level, along_x, along_y = solution.to(dtype)[..., None, None].unbind(1)  # (B, 2, 1, 1)
    return (level + along_x * xs.to(dtype) + along_y * ys.to(dtype)[:, None]).to(flow.dtype)

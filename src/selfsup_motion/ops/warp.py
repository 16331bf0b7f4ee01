"""Moving images along optical flow."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(
    image: Tensor, flow: Tensor, *, padding: Literal["zeros", "border"] = "zeros"
) -> Tensor:
    """Look up each pixel where the flow says it went: out(p) = image(p + flow(p)).

    With the flow from frame t to t+1 and frame t+1 as the image this reconstructs frame t.
    Bilinear.

    Args:
        image: (B, C, H, W) float.
        flow: (B, 2, H, W), (x, y) displacement in pixels.
        padding: what lies outside the image: "zeros", or "border", its nearest pixel.

    Returns:
        (B, C, H, W), differentiable in both arguments.
    """
    _check(image, flow)
    height, width = image.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype).unsqueeze(1) + flow[:, 1]
    # -1 and 1 are the centres of the outermost pixels (align_corners=True).
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], -1)
    return F.grid_sample(image, grid.to(image.dtype), padding_mode=padding, align_corners=True)


def forward_warp(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Push each pixel along its flow: out(p + flow(p)) = image(p).

    Displacements are truncated to whole pixels and targets clamped to the image. Where several
    pixels land on one, the one that moves farthest wins, and of equally fast ones the last in
    row-major order; so the result does not depend on the device.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W), (x, y) displacement in pixels. A pixel whose flow is NaN or infinite
            lands nowhere.

    Returns:
        warped: (B, C, H, W), zero where no pixel landed; differentiable in `image`.
        hole: (B, 1, H, W) bool, where no pixel landed.
    """
    _check(image, flow)
    batch, _, height, width = image.shape
    known = flow.isfinite().all(1, keepdim=True)
    flow = torch.where(known, flow, 0)
    step = flow.trunc().long()
    x = (torch.arange(width, device=flow.device) + step[:, 0]).clamp(0, width - 1)
    y = (torch.arange(height, device=flow.device).unsqueeze(1) + step[:, 1]).clamp(0, height - 1)
    target = (y * width + x).flatten(1)  # (B, H W)

    speed = torch.linalg.vector_norm(flow, dim=1).flatten(1)
    by_speed = speed.argsort(dim=1, stable=True)  # slowest pixel first
    rank = torch.empty_like(by_speed).scatter_(
        1, by_speed, torch.arange(height * width, device=flow.device).expand(batch, -1)
    )
    rank = torch.where(known.flatten(1), rank, -1)
    winner = torch.full_like(rank, -1).scatter_reduce(1, target, rank, "amax")
    hole = winner < 0
    source = by_speed.gather(1, winner.clamp(min=0)).unsqueeze(1)  # (B, 1, H W)
    warped = image.flatten(2).gather(2, source.expand(-1, image.shape[1], -1))
    warped = warped.masked_fill(hole.unsqueeze(1), 0)
    return warped.view_as(image), hole.view(batch, 1, height, width)


def _check(image: Tensor, flow: Tensor) -> None:
    if image.ndim != 4 or flow.shape != (image.shape[0], 2, *image.shape[-2:]):
        raise ValueError(
            f"expected image (B, C, H, W) and flow (B, 2, H, W), got {tuple(image.shape)} and "
            f"{tuple(flow.shape)}"
        )

"""Gaussian blur of a batch in which every image has its own width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = 3.0
"""Standard deviations up to which the kernel goes."""


def gaussian_blur(images: Tensor, sigma: Tensor, most: float) -> Tensor:
    """Blur every image by its own Gaussian, with all of its channels alike.

    The border is repeated outwards.

    Args:
        images: (N, C, H, W) float.
        sigma: (N,) standard deviations in pixels; 0 changes nothing.
        most: the largest of `sigma`, known without asking the device; it sets the kernel's size.

    Returns:
        (N, C, H, W).
    """
    radius = max(1, math.ceil(_REACH * most))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    # of a width of 0 only the middle is left
    weights = torch.exp(-0.5 * (offsets / sigma.float().clamp(min=1e-3)[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(images.dtype)
    count = len(images)
    x = images.transpose(0, 1)  # channels as a batch, so that each image is a group of its own
    for shape, pad in (((-1, 1), (0, 0, radius, radius)), ((1, -1), (radius, radius, 0, 0))):
        padded = F.pad(x, pad, mode="replicate")
        x = F.conv2d(padded, weights.view(count, 1, *shape), groups=count)
    return x.transpose(0, 1)

"""MoSI's standard size of source images: one short side, then a crop of one area."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""(height, width) in pixels."""


def published_resize(image: Tensor, short_side: int) -> Tensor:
    """Resize as the published code does: bilinear without averaging, levels cut off.

    One difference: the shorter side always becomes `short_side`. Published, some square images (77,
    154, 303, … pixels) become one pixel smaller, and the crop then fails.

    Args:
        image: (3, H, W) uint8.
        short_side: in pixels.

    Returns:
        (3, h, w) uint8.
    """
    height, width = image.shape[-2:]
    short = min(height, width)
    # in this order of operations, or other sizes would be cut off
    size = [max(short_side, int(short_side / short * side)) for side in (height, width)]
    if height <= width:
        size[0] = short_side
    if width <= height:
        size[1] = short_side
    planes = image[None].contiguous().float()
    resized = F.interpolate(planes, size, mode="bilinear", align_corners=False)
    return resized[0].byte()


def crop_size(field: int, aspect: float) -> Size:
    """The crop with this width per height whose longer side is `field` pixels."""
    if aspect >= 1:
        return int(field / aspect), field
    return field, int(field * aspect)

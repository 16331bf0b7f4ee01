"""What is behind the things that move, as far as their surroundings tell."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.masks import check_mask

_SIDE = 320
"""Pixels: short side at which the ground is filled in; only a rim of it comes to light."""
_MARGIN = 0.01
"""Of the short side: pixels so near to a thing may show some of it."""
_MOST = 0.85
"""Share of the image that moves above which too little is left to continue."""


def background(image: Tensor, moving: Tensor) -> Tensor | None:
    """Continue the ground behind what moves (Telea's inpainting, of OpenCV).

    It is made once for a film, so what comes to light is the same in every frame.

    Args:
        image: (3, H, W) uint8.
        moving: (H, W) bool.

    Returns:
        (3, H, W) float32 in [0, 255] on the CPU; None if hardly anything of the ground is seen.

    Raises:
        ValueError: a mask that is not bool or of another shape.
    """
    height, width = image.shape[-2:]
    check_mask("moving", moving, (height, width))
    scale = min(1.0, _SIDE / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    covered = moving.cpu().numpy().astype(np.uint8)
    hidden = np.asarray(cv2.resize(covered, size, interpolation=cv2.INTER_AREA), np.uint8)
    reach = 2 * max(1, round(_MARGIN * min(size))) + 1
    hidden = np.asarray(cv2.dilate(hidden, np.ones((reach, reach), np.uint8)), np.uint8)
    if hidden.mean() > _MOST:
        return None
    if not hidden.any():
        return image.float().cpu()
    filled = cv2.inpaint(small, hidden, 3, cv2.INPAINT_TELEA)
    ground = torch.from_numpy(np.asarray(filled)).permute(2, 0, 1)[None].float()
    ground = F.interpolate(ground, (height, width), mode="bilinear")[0]
    rim = F.interpolate(torch.from_numpy(hidden)[None, None].float(), (height, width))[0]
    return torch.where(rim > 0, ground, image.float().cpu())

"""Pictures of what CorrFlow copies."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.ops.color import lab_to_rgb, rgb_to_lab
from selfsup_motion.ops.draw import Image, panel
from selfsup_motion.ops.overlay import draw_masks

# hues a golden section apart: neighbouring ids never look alike
_PALETTE = np.array([[0, 0, 0], *(colorsys.hsv_to_rgb(0.6 * i % 1, 0.9, 1) for i in range(1, 256))])
MASK_COLORS = (255 * _PALETTE).astype(np.uint8)
"""(256, 3) of ids."""


def clip_panel(
    frames: Tensor, colors: Tensor, masks: Tensor | None, followed: Tensor | None
) -> Image:
    """Draw clips, one a row.

    Args:
        frames: (B, T, 3, H, W) uint8.
        colors: (B, 2, H, W) a and b of the last frame, as copied from the one before.
        masks: (B, T, H, W) true ids, if known.
        followed: (B, T, H, W) ids as followed from the first frame.

    Returns:
        (height, width, 3) uint8.
    """
    magnify = max(1, round(192 / min(frames.shape[-2:])))
    lab = rgb_to_lab(frames[:, -1].float() / 255)
    copied = lab_to_rgb(torch.cat([lab[:, :1], colors.to(lab.dtype)], 1)).clamp(0, 1)
    titles = ["frame before", "last frame", "with copied colours"]
    rows = []
    for i in range(len(frames)):
        pictures = [frames[i, -2], frames[i, -1], (255 * copied[i]).round().byte()]
        tiles = [enlarged(picture.permute(1, 2, 0), magnify) for picture in pictures]
        if masks is not None and followed is not None:
            first = enlarged(frames[i, 0].permute(1, 2, 0), magnify)
            for image, ids in (
                (first, masks[i, 0]), (tiles[1], followed[i, -1]), (tiles[1], masks[i, -1]),
            ):  # fmt: skip
                tiles.append(draw_masks(image, enlarged(ids.byte(), magnify), MASK_COLORS))
        rows.append(tiles)
    if masks is not None:
        titles += ["first frame, given", "followed to the last", "truth"]
    return panel(rows, titles)


def enlarged(picture: Tensor, magnify: int) -> Image:
    """(H, W, …) uint8 on any device, each pixel repeated: (H magnify, W magnify, …)."""
    return picture.cpu().numpy().repeat(magnify, 0).repeat(magnify, 1)

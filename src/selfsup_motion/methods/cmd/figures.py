"""Pictures of clips, of the motion after them, and of where it was foreseen."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor

from selfsup_motion.ops.draw import Image, panel
from selfsup_motion.ops.flow_color import flow_to_color
from selfsup_motion.ops.motion_pictures import overlay_heat

_SIDE = 128
TITLES = ["first frame", "last frame", "key frame", "motion after it", "foreseen"]


def clip_pictures(batch: Mapping[str, Tensor], alike: Tensor) -> Image:
    """Draw clips, one a row.

    Args:
        batch: of `CMDView`.
        alike: (B, g, g) cosines of the predicted and the true motion.

    Returns:
        (height, width, 3) uint8: first and last frame, key frame, the mean motion after the clip in
        flow colours, and the last frame with the cosines above 0 as heat.
    """
    rows = []
    moved = batch["motion"][:, 0].float().mean(1).cpu().numpy()  # over the time
    largest = max(float(np.linalg.norm(moved, axis=1).max()), 1e-3)
    colors = flow_to_color(moved, largest).transpose(0, 2, 3, 1)
    for i, heat in enumerate(alike.clamp(0, 1).cpu()):
        clip = batch["clip"][i].permute(0, 2, 3, 1).cpu().numpy()
        key = batch["context"][i].permute(1, 2, 0).cpu().numpy()
        size = (clip.shape[1], clip.shape[2])
        spread = torch.nn.functional.interpolate(heat[None, None], size, mode="bilinear")[0, 0]
        tiles = [clip[0], clip[-1], key, colors[i], overlay_heat(clip[-1], spread.numpy())]
        rows.append([_enlarged(tile) for tile in tiles])
    return panel(rows, TITLES)


def _enlarged(image: Image) -> Image:
    resized = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8)

"""Pictures of what cells are assigned to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.methods.corrflow.figures import MASK_COLORS, enlarged
from selfsup_motion.methods.dense_ulearn.objective import grid_cells, take
from selfsup_motion.ops.draw import Image, panel
from selfsup_motion.ops.overlay import draw_masks


def assignment_panel(
    frames: Tensor, features: Tensor, anchors: int, masks: Tensor | None, followed: Tensor | None
) -> Image:
    """Draw clips, one a row: each cell in the colour of the anchor that it is most like.

    Args:
        frames: (B, T, 3, H, W) uint8.
        features: (B, T, C, h, w) unit features of these frames.
        anchors: along each side of the first frame.
        masks: (B, T, H, W) true ids, if known.
        followed: (B, T, H, W) ids as followed from the first frame.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = frames.shape[-2:]
    magnify = max(1, round(192 / min(height, width)))
    size = (features.shape[-2], features.shape[-1])
    middle = torch.full((len(frames), 2), 0.5, device=features.device)
    bank = take(features[:, 0], grid_cells(middle, anchors, size))
    nearest = torch.einsum("bnc,btchw->btnhw", bank, features[:, [0, -1]]).argmax(2)
    colors = _anchor_colors(anchors)[nearest.cpu().numpy()]
    cell = -(-height // size[0]), -(-width // size[1])
    titles = ["first frame", "its cells by anchor", "last frame", "its cells by anchor"]
    rows = []
    for i in range(len(frames)):
        tiles = []
        for t, colored in ((0, colors[i, 0]), (-1, colors[i, 1])):
            picture = enlarged(frames[i, t].permute(1, 2, 0), magnify)
            cells = colored.repeat(cell[0], 0).repeat(cell[1], 1)[:height, :width]
            cells = cells.repeat(magnify, 0).repeat(magnify, 1)
            tiles += [picture, ((picture.astype(np.uint16) + 2 * cells) // 3).astype(np.uint8)]
        if masks is not None and followed is not None:
            for image, ids in (
                (tiles[0], masks[i, 0]), (tiles[2], followed[i, -1]), (tiles[2], masks[i, -1]),
            ):  # fmt: skip
                tiles.append(draw_masks(image, enlarged(ids.byte(), magnify), MASK_COLORS))
        rows.append(tiles)
    if masks is not None and followed is not None:
        titles += ["first frame, given", "followed to the last", "truth"]
    return panel(rows, titles)


def _anchor_colors(anchors: int) -> np.ndarray:
    """(anchors², 3) uint8: red grows to the right, green downwards, blue to the left."""
    steps = np.linspace(0.1, 1, anchors)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    return (255 * np.stack([x, y, 1.1 - x], -1)).reshape(-1, 3).astype(np.uint8)

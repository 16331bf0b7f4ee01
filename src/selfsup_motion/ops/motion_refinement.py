"""A predicted motion that ends where the thing ends: along edges and colours of the image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.mask_refinement import refine_grabcut
from selfsup_motion.ops.splat import fill_holes

_SIDE = 240
"""Pixels: short side at which GrabCut works, fast and as good as larger ones."""
_MOVES = 0.5
"""Share of the nearest arrow's length from which a pixel moves with it."""


def refine_motion(
    flow: Tensor,
    image: Tensor,
    points: Tensor,
    vectors: Tensor,
    others: Tensor | None = None,
) -> Tensor:
    """Let what moves end at edges of the image, and the rest stand still.

    A network predicts motion at a fraction of the image's resolution, so it fades over several
    pixels at the rim of a thing. Here GrabCut decides which pixels belong to what moves, and these
    get the full motion of their surroundings.

    Args:
        flow: (2, H, W) float32, in pixels.
        image: (3, H, W) uint8.
        points: (K, 2) x, y of the arrows and pins.
        vectors: (K, 2) in pixels; zero for pins.
        others: (T, 2, H, W): motions of the same things at other times, to be refined instead.

    Returns:
        (2, H, W) on the device of `flow`, exactly zero where nothing moves, or as `others`. The
        motion itself if nothing or everything moves, or all arrows are zero.
    """
    given = flow if others is None else others
    lengths = vectors.float().norm(dim=-1)
    arrows = lengths > 0
    if not arrows.any():
        return given
    field = flow.detach().float().cpu()
    reference = _nearest_length(field.shape[-2:], points[arrows].cpu(), lengths[arrows].cpu())
    score = (field.norm(dim=0) / reference).clamp(0, 1)
    moves = score > _MOVES
    if moves.all() or not moves.any():
        return given
    cut = refine_grabcut(np.asarray(score, np.float32), image.cpu(), side=_SIDE)
    region = torch.from_numpy(_moving_parts(cut, score.numpy(), points[arrows].cpu().numpy()))
    if not (region > 0.5).any():
        return given
    known = (moves & (region > 0.5)).float()
    if not known.any():
        return given
    fields = field[None] if others is None else others.detach().float().cpu()
    whole = fill_holes(fields, known.expand(len(fields), 1, *known.shape))
    refined = (whole * region).to(flow)
    return refined[0] if others is None else refined


def _moving_parts(
    region: NDArray[np.float32], score: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Drop the parts of a region that only look like what moves: lamps like another lamp.

    Args:
        region: (H, W) in [0, 1].
        score: (H, W), how far each pixel moves by the prediction, 1 for all of the way.
        points: (K, 2) x, y of the arrows; a part with one of them stays.
    """
    count, parts = cv2.connectedComponents((region > 0.5).astype(np.uint8))
    sizes = np.bincount(parts.ravel(), minlength=count)
    moved = np.bincount(parts.ravel(), score.ravel(), minlength=count) / np.maximum(sizes, 1)
    keep = moved > _MOVES
    limit = np.array(region.shape[::-1]) - 1
    x, y = np.clip(np.rint(points).astype(int), 0, limit).T
    keep[parts[y, x]] = True
    keep[0] = False
    # the soft rim of a part lies outside of it
    around = cv2.dilate(keep[parts].astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.where(around > 0, region, 0).astype(np.float32)


def _nearest_length(size: tuple[int, ...], points: Tensor, lengths: Tensor) -> Tensor:
    """(H, W): length of the arrow that is nearest to each pixel."""
    y = torch.arange(size[0], dtype=torch.float32)[:, None]
    x = torch.arange(size[1], dtype=torch.float32)
    nearest = torch.full(tuple(size), torch.inf)
    found = torch.zeros(tuple(size))
    for (px, py), length in zip(points.tolist(), lengths.tolist(), strict=True):
        distance = (x - px) ** 2 + (y - py) ** 2
        found = torch.where(distance < nearest, length, found)
        nearest = torch.minimum(distance, nearest)
    return found

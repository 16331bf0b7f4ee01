"""Where a patch lies in an image: affinities, transformations, crops and losses of CycleTime.

A transformation θ, (2, 3), leads from places of the patch to places of the image, both from -1 to
1, x first. All patches are a third as large as the image, so that θ has three numbers: a
translation and an angle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.constants import constant_like

SCALE = 1 / 3
"""Side of the patch in sides of the image."""
PUBLISHED_TRANSLATION = 1.080952380952381  # 227 / 210
"""What the published code multiplies translations by when it crops features."""
_EPSILON = 1e-5
_GRID = 20
"""Points along each side in which two transformations are compared."""


def transformation(parameters: Tensor) -> Tensor:
    """(B, 3) x and y of the translation and the angle in radians → (B, 2, 3)."""
    x, y, angle = parameters.unbind(-1)
    cos, sin = SCALE * angle.cos(), SCALE * angle.sin()
    rows = torch.stack([cos, -sin, x], -1), torch.stack([sin, cos, y], -1)
    return torch.stack(rows, -2)


def affinity(patch: Tensor, image: Tensor, temperature: float) -> Tensor:
    """From where in the image each cell of the patch may be (section 3.2).

    Args:
        patch: (B, C, p, p) of length 1 along C.
        image: (B, C, h, w) of length 1 along C.
        temperature: similarities are divided by it.

    Returns:
        (B, w · h, p, p): probabilities over the cells of the image, which are counted column by
        column, as the published localiser expects them.
    """
    cells = image.transpose(-1, -2).flatten(2)
    similarity = (patch.flatten(2) / temperature).mT @ cells
    # the cells of the image last: a softmax over neighbours, and in memory the order that the
    # localiser's convolutions take (channels_last)
    return torch.unflatten(similarity.softmax(-1).mT, 2, patch.shape[-2:])


def places(theta: Tensor, size: int, translation: float = 1.0) -> Tensor:
    """(B, size, size, 2): where a grid of the patch, from border to border, lies in the image.

    Args:
        theta: (B, 2, 3).
        size: points along each side.
        translation: a factor of the translation.
    """
    axis = torch.linspace(-1, 1, size, device=theta.device, dtype=theta.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y], -1)
    turned = torch.einsum("bij,yxj->byxi", theta[:, :, :2], points)
    return turned + translation * theta[:, None, None, :, 2]


def crop(
    features: Tensor, theta: Tensor, size: int, *, translation: float, align_corners: bool
) -> Tensor:
    """The patch of a feature map that a transformation leads to, zero outside of the map.

    Args:
        features: (B, C, h, w).
        theta: (B, 2, 3).
        size: of the patch, in cells.
        translation: a factor of the translation.
        align_corners: whether -1 and 1 are the centres of the outermost cells, or their borders.

    Returns:
        (B, C, size, size).
    """
    grid = places(theta, size, translation)
    return F.grid_sample(features, grid, padding_mode="zeros", align_corners=align_corners)


def cut_patch(images: Tensor, theta: Tensor, size: int, *, align_corners: bool) -> Tensor:
    """The patch of an image that a transformation leads to: (B, C, H, W) → (B, C, size, size)."""
    shape = [*images.shape[:2], size, size]
    grid = F.affine_grid(theta, shape, align_corners=align_corners)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=align_corners)


def grid_distance(theta: Tensor, other: Tensor) -> Tensor:
    """How far two transformations are apart (section 3.3).

    Args:
        theta: (B, 2, 3).
        other: (B, 2, 3).

    Returns:
        (B,) mean over a grid of points of their squared distance, in half sides of the image.
    """
    return (places(theta, _GRID) - places(other, _GRID)).square().sum(-1).mean((1, 2))


def soft_inliers(
    theta: Tensor, affinities: Tensor, size: tuple[int, int], *, translation: float,
    align_corners: bool,
) -> Tensor:  # fmt: skip
    """How much of the affinity lies where the transformation leads to (section 3.3).

    The published form warps an image for every cell of the feature map, 1 there and 0 elsewhere,
    and adds up the affinities with these weights. The weights are those of bilinear interpolation,
    so this looks up the affinities of each cell of the patch at its place.

    Args:
        theta: (B, 2, 3).
        affinities: (B, w · h, p, p) as of `affinity`.
        size: h and w of the image.
        translation: a factor of the translation.
        align_corners: see `crop`.

    Returns:
        (B,) mean affinity there, weighted by how much of each place is inside the image.
    """
    cells, patch = affinities.shape[1:3]
    found, inside = _looked_up(affinities, places(theta, patch, translation), size, align_corners)
    return found.sum(1) / (inside.sum(1) + _EPSILON * cells * patch**2)


def surprise(theta: Tensor, affinities: Tensor, size: tuple[int, int]) -> Tensor:
    """Cross-entropy of affinities with the true places of the patch's cells.

    Args:
        theta: (B, 2, 3), where `cut_patch` has cut the patch.
        affinities: (B, w · h, p, p) as of `affinity`.
        size: h and w of the image.

    Returns:
        (B,) mean over the cells that are inside the image, in nats.
    """
    patch = affinities.shape[2]
    # the centres of the outermost cells are half a cell inside of the border
    centres = theta * constant_like([1 - 1 / patch, 1 - 1 / patch, 1.0], theta)
    found, inside = _looked_up(affinities, places(centres, patch), size, align_corners=False)
    return -(inside * (found + _EPSILON).log()).sum(1) / (inside.sum(1) + _EPSILON)


def _looked_up(
    affinities: Tensor, grid: Tensor, size: tuple[int, int], align_corners: bool
) -> tuple[Tensor, Tensor]:
    """The affinity of each cell of a patch at its place of `grid` (B, p, p, 2), and how much of
    that is inside the image: (B, p²) each."""
    batch, _, patch = affinities.shape[:3]
    maps = affinities.permute(0, 2, 3, 1).reshape(batch * patch**2, 1, size[1], size[0])
    maps = maps.transpose(-1, -2)
    both = torch.cat([maps, torch.ones_like(maps)], 1)
    points = grid.reshape(batch * patch**2, 1, 1, 2)
    found = F.grid_sample(both, points, padding_mode="zeros", align_corners=align_corners)
    there, inside = found.reshape(batch, patch**2, 2).unbind(-1)
    return there, inside

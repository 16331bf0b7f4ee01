"""Class maps between the pixels of a frame and the coarser cells that attention copies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.masks import check_labels


def labels_to_cells(
    labels: Tensor, num_classes: int, stride: int, *, blend_ids: bool = False
) -> Tensor:
    """Shares of the classes in the cells of a coarser map.

    A cell looks at the four pixels around its centre, as bilinear interpolation does that shrinks
    without averaging.

    Args:
        labels: (B, H, W) int64 in [0, num_classes); H and W are multiples of `stride`.
        num_classes: K.
        stride: side of a cell in pixels; even.
        blend_ids: average the ids themselves, cut off what is behind the point and take that class,
            as the published code does: between the classes 1 and 3 there is a rim of 2.

    Returns:
        (B, K, H / stride, W / stride) float32 that sum to 1.

    Raises:
        ValueError: a size that is no multiple of the stride, an odd stride, labels of another type.
    """
    height, width = labels.shape[-2:]
    check_labels("labels", labels, (labels.shape[0], height, width))
    if stride % 2 or height % stride or width % stride:
        raise ValueError(
            f"labels of {height}x{width} cannot be divided into cells of an even side: {stride}"
        )
    first = stride // 2 - 1
    corners = [
        labels[:, first + i :: stride, first + j :: stride] for i in range(2) for j in range(2)
    ]
    if blend_ids:
        mean = torch.stack(corners).float().mean(0)
        return F.one_hot(mean.long(), num_classes).movedim(-1, 1).float()
    cells = torch.zeros(
        len(labels), num_classes, height // stride, width // stride, device=labels.device
    )
    for corner in corners:
        cells.scatter_add_(1, corner[:, None], torch.full_like(cells[:, :1], 0.25))
    return cells


def blur_cells(cells: Tensor, stride: int) -> Tensor:
    """What is left of a map after enlarging it to pixels and reducing it to cells again.

    A reference that was itself copied goes this way in CorrFlow. Bilinear enlargement followed by
    `labels_to_cells` is this blur, exactly: [1, 4·stride - 2, 1] / (4·stride) along each axis.

    Args:
        cells: (B, K, h, w) float.
        stride: side of a cell in pixels.

    Returns:
        (B, K, h, w).
    """
    side = 0.25 / stride
    for axis in (2, 3):
        size = cells.shape[axis]
        before = torch.cat([cells.narrow(axis, 0, 1), cells.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([cells.narrow(axis, 1, size - 1), cells.narrow(axis, size - 1, 1)], axis)
        cells = (1 - 2 * side) * cells + side * (before + after)
    return cells


def cells_to_pixels(cells: Tensor, stride: int) -> Tensor:
    """Enlarge (B, K, h, w) bilinearly to (B, K, stride·h, stride·w)."""
    return F.interpolate(cells, scale_factor=float(stride), mode="bilinear", align_corners=False)


def cells_at_labels(cells: Tensor, labels: Tensor, stride: int) -> Tensor:
    """Each pixel's value in the map of its own label, without enlarging the other maps.

    Args:
        cells: (B, K, h, w) floating point.
        labels: (B, stride·h, stride·w) int64 in [0, K).
        stride: pixels of a cell's side.

    Returns:
        (B, stride·h, stride·w): what `cells_to_pixels(cells, stride)` has there in the labels'
        maps, up to rounding. Differentiable in `cells`.

    Raises:
        ValueError: labels of another type or size.
    """
    height, width = cells.shape[-2:]
    check_labels("labels", labels, (cells.shape[0], stride * height, stride * width))
    (top, bottom, down), (left, right, across) = (
        _neighbours(size, stride, cells) for size in (height, width)
    )
    flat, own = cells.flatten(1), labels * (height * width)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = own + (row[:, None] * width + column)
        return flat.gather(1, index.flatten(1)).view(index.shape)

    upper = torch.lerp(at(top, left), at(top, right), across)
    lower = torch.lerp(at(bottom, left), at(bottom, right), across)
    return torch.lerp(upper, lower, down[:, None])


def _neighbours(size: int, stride: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of a row: the cells before and after it, and how far it is between them."""
    pixels = torch.arange(size * stride, device=like.device, dtype=torch.float32)
    place = ((pixels + 0.5) / stride - 0.5).clamp(min=0)
    first = place.long()
    return first, (first + 1).clamp(max=size - 1), (place - first).to(like.dtype)

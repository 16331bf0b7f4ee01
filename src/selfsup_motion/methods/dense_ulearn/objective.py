"""The two losses of dense unsupervised learning: assignment to anchors, and one to one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.methods.parts.gathering import gather_rows, own_rows


@dataclass(frozen=True)
class Losses:
    """What a batch gives.

    Attributes:
        temporal: mean cross-entropy of the assignments (section 3.2).
        cross_view: cross-entropy of finding a place of one view in the other.
        errors: (B, T - 1, h, w) cross-entropy of each cell.
    """

    temporal: Tensor
    cross_view: Tensor
    errors: Tensor


def zoom_matrices(zoom: Tensor) -> Tensor:
    """From the coordinates of the zoomed view to those of the plain one.

    Args:
        zoom: (B, 4) float: the window's size as a share of the frame's, 1 or -1 (mirrored), and its
            centre (x, y) in [-1, 1], in coordinates of the frame as it is after mirroring.

    Returns:
        (B, 2, 3), for `affine_grid`.
    """
    scale, flip, x, y = zoom.unbind(1)
    zero = torch.zeros_like(scale)
    rows = [torch.stack([flip * scale, zero, flip * x], 1), torch.stack([zero, scale, y], 1)]
    return torch.stack(rows, 1)


def zoomed(maps: Tensor, zoom: Tensor, mode: str = "bilinear") -> Tensor:
    """Cut the window of `zoom` (B, 4) out of maps (B, T, C, h, w) and enlarge it to their size."""
    batch, length, channels, height, width = maps.shape
    theta = zoom_matrices(zoom).to(maps.dtype)
    grid = F.affine_grid(theta, [batch, channels, height, width], align_corners=False)
    # one window for all frames of a clip: they are sampled as channels
    flat = F.grid_sample(maps.flatten(1, 2), grid, mode=mode, align_corners=False)
    return torch.unflatten(flat, 1, (length, channels))


def grid_cells(offset: Tensor, grid: int, size: tuple[int, int]) -> Tensor:
    """Places of a regular grid, moved together.

    Args:
        offset: (B, 2) x and y in [0, 1), a share of the distance between neighbours.
        grid: places along each side.
        size: (h, w) of the map, at least `grid`.

    Returns:
        (B, grid²) int64 indices of cells, row by row.
    """
    height, width = size
    steps = torch.arange(grid, device=offset.device)
    step_y, step_x = height // grid, width // grid
    x = (offset[:, 0] * step_x).long()[:, None] + steps * step_x
    y = (offset[:, 1] * step_y).long()[:, None] + steps * step_y
    return (y[:, :, None] * width + x[:, None]).flatten(1)


def take(maps: Tensor, cells: Tensor) -> Tensor:
    """Vectors (B, N, C) of a map (B, C, h, w) at the cells (B, N)."""
    index = cells[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2)


def dense_ulearn_losses(
    plain: Tensor,
    first: Tensor,
    later: Tensor,
    zoom: Tensor,
    anchor_offset: Tensor,
    cross_offset: Tensor,
    *,
    anchors: int = 8,
    cross_cells: int = 4,
    temperature: float = 0.05,
    alone: bool = False,
) -> Losses:
    """Compare cells of all frames with anchors of the first frames (section 3).

    A cell of the zoomed view is assigned to the anchor of its own clip that it is most like; the
    same cell of the plain view must find this anchor among those of all clips, on all ranks.

    Args:
        plain: (B, T, C, h, w) unit features of the plain view.
        first: (B, C, h, w) of the zoomed view's first frame.
        later: (B, T - 1, C, h, w) of its other frames; they are targets, without gradients.
        zoom: (B, 4), see `zoom_matrices`.
        anchor_offset: (B, 2), see `grid_cells`.
        cross_offset: (B, 2) of the grid that is compared one to one.
        anchors: along each side of the first frame.
        cross_cells: along each side of the first frame, compared one to one between the views.
        temperature: of the cosine similarities.
        alone: compare each clip with its own anchors only, so that its losses do not depend on what
            else is in the batch (for validation).
    """
    size = (plain.shape[-2], plain.shape[-1])
    bank = take(plain[:, 0], grid_cells(anchor_offset, anchors, size))
    with torch.no_grad():
        targets = torch.einsum("bnc,btchw->btnhw", bank, later).argmax(2)
    aligned = zoomed(plain, zoom, mode="nearest")
    cells = grid_cells(cross_offset, cross_cells, size)
    ours, theirs = take(aligned[:, 0], cells), take(first, cells)
    same = torch.arange(cells.shape[1], device=plain.device).expand(len(cells), -1)
    if alone:
        logits = torch.einsum("bnc,btchw->btnhw", bank, aligned[:, 1:])
        matches = ours @ theirs.transpose(1, 2)
    else:
        row = own_rows(len(bank), plain.device)
        targets = targets + row[:, None, None, None] * bank.shape[1]
        same = same + row[:, None] * cells.shape[1]
        everywhere = gather_rows(bank).flatten(0, 1)
        logits = torch.einsum("nc,btchw->btnhw", everywhere, aligned[:, 1:])
        matches = ours @ gather_rows(theirs).flatten(0, 1).T
    errors = F.cross_entropy(
        logits.flatten(0, 1) / temperature, targets.flatten(0, 1), reduction="none"
    )
    cross_view = F.cross_entropy(matches.flatten(0, 1) / temperature, same.flatten())
    return Losses(errors.mean(), cross_view, torch.unflatten(errors, 0, targets.shape[:2]))

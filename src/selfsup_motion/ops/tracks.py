"""Point tracks and sparse flow images: the two forms in which video generators hold guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.ops.guidance import rasterize_guidance
from selfsup_motion.ops.masks import check_mask


def trajectory_guidance(
    tracks: Tensor, size: tuple[int, int], visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Tracks → sparse flow from the first frame to every later one, and where it is given.

    A track's flow stands at the pixel where the track starts. Tracks that start outside the image,
    or that are hidden in the first frame or in the later one, give nothing; tracks that start in
    one pixel are averaged.

    Args:
        tracks: (..., T, K, 2) float: x, y of K points in T ≥ 2 frames, in pixels of `size`; pixel
            centres are whole numbers.
        size: (height, width).
        visible: (..., T, K) bool. None: all are.

    Returns:
        sparse: (..., T-1, 2, H, W) in pixels, zero where nothing is given; differentiable.
        mask: (..., T-1, 2, H, W), 1 where a flow is given (both channels alike), else 0.

    Raises:
        ValueError: shapes that do not fit, fewer than two frames, or `visible` that is not bool.
    """
    if tracks.ndim < 3 or tracks.shape[-1] != 2 or tracks.shape[-3] < 2:
        raise ValueError(f"tracks must be (..., T, K, 2) with T >= 2, got {tuple(tracks.shape)}")
    if visible is None:
        visible = torch.ones(tracks.shape[:-1], dtype=torch.bool, device=tracks.device)
    check_mask("visible", visible, tracks.shape[:-1])
    start = tracks[..., :1, :, :]
    used = visible[..., 1:, :] & visible[..., :1, :] & tracks.isfinite().all(-1)[..., 1:, :]
    used = used & start.isfinite().all(-1)
    vectors = torch.where(used[..., None], tracks[..., 1:, :, :] - start, 0)
    points = torch.where(used[..., None], start.expand_as(vectors), 0)
    guidance = rasterize_guidance(
        points.flatten(0, -3), vectors.flatten(0, -3), used.flatten(0, -2), size
    )
    guidance = guidance.view(*vectors.shape[:-2], *guidance.shape[1:])
    return guidance[..., :2, :, :], guidance[..., 2:, :, :]


def sparse_to_points(sparse: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sparse flow images → lists of points, as long as the fullest image needs.

    The length depends on values, so the host waits once for a GPU.

    Args:
        sparse: (N, 2, H, W) in pixels.
        mask: (N, C, H, W), non-zero in any channel where `sparse` counts.

    Returns:
        points (N, K, 2) float x, y; vectors (N, K, 2); point_mask (N, K) bool, False where a row is
        padding.
    """
    if (
        sparse.ndim != 4
        or sparse.shape[1] != 2
        or mask.ndim != 4
        or mask.shape[0] != sparse.shape[0]
        or (mask.shape[-2:] != sparse.shape[-2:])
    ):
        raise ValueError(
            f"expected sparse (N, 2, H, W) and mask (N, C, H, W), got {tuple(sparse.shape)} and "
            f"{tuple(mask.shape)}"
        )
    given = (mask != 0).any(1).flatten(1)
    count = given.cumsum(1, dtype=torch.int32)  # (N, H W)
    longest = int(count[:, -1].max()) if count.numel() else 0
    number = torch.arange(1, longest + 1, device=count.device, dtype=torch.int32)
    used = number <= count[:, -1:]  # (N, K)
    # the k-th point is the first pixel up to which there are k
    cell = torch.searchsorted(count, number.expand(len(count), -1).contiguous(), out_int32=True)
    cell = cell.clamp_(max=given.shape[1] - 1)  # of padding
    width = sparse.shape[-1]
    points = torch.stack([cell % width, cell // width], -1).to(sparse.dtype)
    vectors = sparse.flatten(2).gather(2, cell.long().unsqueeze(1).expand(-1, 2, -1))
    padding = ~used.unsqueeze(-1)
    return points.masked_fill(padding, 0), vectors.mT.masked_fill(padding, 0), used

"""Dense motion from sparse vectors without a network: what a learned model has to beat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.color import rgb_to_lab
from selfsup_motion.ops.masks import check_mask
from selfsup_motion.ops.running_min import running_min

_NEVER = 1e30
"""Distance of padding: its weight is 0 beside any point."""


def nearest_interpolation(
    points: Tensor, vectors: Tensor, point_mask: Tensor, size: tuple[int, int]
) -> Tensor:
    """Every pixel moves as the nearest guidance point does.

    Args:
        points: (B, K, 2) x, y in pixels.
        vectors: (B, K, 2) motion of the points in pixels.
        point_mask: (B, K) bool; False marks padding, which is ignored whatever it holds.
        size: (H, W) of the result.

    Returns:
        (B, 2, H, W); zero for an item without points.

    Raises:
        ValueError: a mask that is not bool or of another shape.
    """
    check_mask("point_mask", point_mask, points.shape[:-1])
    height, width = size
    if points.shape[1] == 0:
        return vectors.new_zeros(points.shape[0], 2, height, width)
    x = torch.arange(width, device=points.device, dtype=points.dtype)
    y = torch.arange(height, device=points.device, dtype=points.dtype)
    dx = x - points[..., :1]  # (B, K, W)
    dy = y - points[..., 1:]  # (B, K, H)
    distance = dy.square().unsqueeze(-1) + dx.square().unsqueeze(-2)  # (B, K, H, W)
    distance = torch.where(point_mask[..., None, None], distance, torch.inf)
    nearest = distance.argmin(1).flatten(1)  # (B, H W)
    flow = vectors.gather(1, nearest.unsqueeze(-1).expand(-1, -1, 2))  # (B, H W, 2)
    flow = torch.where(point_mask.any(1)[:, None, None], flow, 0)
    return flow.transpose(1, 2).reshape(-1, 2, height, width)


def edge_aware_interpolation(
    image: Tensor,
    points: Tensor,
    vectors: Tensor,
    point_mask: Tensor,
    *,
    step_cost: float = 0.1,
    softness: float = 6.0,
    stride: int = 2,
    sweeps: int = 3,
) -> Tensor:
    """Mean of the guidance vectors, weighted by geodesic distance in the image.

    EpicFlow's interpolation (Revaud et al. 2015, section 3, Nadaraya-Watson form): the distance
    from a pixel to a point is the cheapest path between them, and a path pays for the change of
    Lab colour along it, so it avoids crossing edges. Of the classical forms tried on ToyWorld and
    Middlebury (nearest point, joint-bilateral and geodesic means, each with and without a local
    affine fit) it was the best; the defaults were chosen on these training data. Guided pixels
    keep their vector exactly.

    Args:
        image: (B, 3, H, W) uint8, or float in [0, 1].
        points: (B, K, 2) x, y in pixels; rounded, and moved into the image if outside.
        vectors: (B, K, 2) motion of the points in pixels.
        point_mask: (B, K) bool; False marks padding, which is ignored whatever it holds.
        step_cost: price of one pixel of path on a flat image, in Lab units.
        softness: distance, in Lab units, at which a weight falls to 1/e.
        stride: pixels per cell of the grid on which distances are found.
        sweeps: passes of horizontal and vertical relaxation; a path has about so many bends.

    Returns:
        (B, 2, H, W); zero for an item without points.

    Raises:
        ValueError: a float image in [0, 255] (found on a CPU only, see `rgb_to_lab`), or a mask
            that is not bool or of another shape.
    """
    check_mask("point_mask", point_mask, points.shape[:-1])
    if not image.is_floating_point():
        image = image.float() / 255
    size = image.shape[2], image.shape[3]
    flows = []
    with torch.autocast(image.device.type, enabled=False):  # a baseline keeps its precision
        lab = rgb_to_lab(F.avg_pool2d(image.float(), stride, ceil_mode=True))
        for item in range(len(image)):  # one at a time: its distances fit into the cache
            guidance = _packed(points[item], vectors[item].float(), point_mask[item])
            flows.append(_spread(lab[item], *guidance, size, step_cost, softness, stride, sweeps))
    return torch.stack(flows) if flows else vectors.new_zeros(0, 2, *size, dtype=torch.float32)


def _packed(points: Tensor, vectors: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """One item's (K, 2), (K, 2) and (K,) without its padding: None instead of a mask.

    To know how many points are left, the host would have to wait for a GPU. There padding stays,
    but repeats the first point; without any point it repeats that nothing moves.
    """
    if used.device.type == "cpu":
        return points[used], vectors[used], None
    if len(used) == 0:
        return points, vectors, None
    points, vectors = (torch.where(used[:, None], rows, 0) for rows in (points, vectors))
    first = used.byte().argmax(keepdim=True)
    points, vectors = (torch.where(used[:, None], x, x[first]) for x in (points, vectors))
    return points, vectors, used


def _spread(
    lab: Tensor,
    points: Tensor,
    vectors: Tensor,
    used: Tensor | None,
    size: tuple[int, int],
    step_cost: float,
    softness: float,
    stride: int,
    sweeps: int,
) -> Tensor:
    """One item: (3, h, w) colours and what `_packed` gives -> (2, H, W)."""
    height, width = size
    if len(points) == 0:
        return vectors.new_zeros(2, height, width)
    x = points[:, 0].round().long().clamp(0, width - 1)
    y = points[:, 1].round().long().clamp(0, height - 1)
    cells = x[None] // stride, y[None] // stride
    distance = point_distances(lab[None], *cells, step_cost=step_cost * stride, sweeps=sweeps)
    if used is not None:
        distance = distance.masked_fill(~used[:, None, None], _NEVER)
    distance = F.interpolate(distance, scale_factor=float(stride), mode="bilinear")
    weight = (-distance[0, :, :height, :width] / softness).softmax(0)  # (K, H, W)
    flow = torch.einsum("khw,kc->chw", weight, vectors)
    flow[:, y, x] = vectors.T
    return flow


def point_distances(
    lab: Tensor, x: Tensor, y: Tensor, *, step_cost: float, sweeps: int = 3
) -> Tensor:
    """Cost of the cheapest path from each of some cells to every cell.

    A step to a neighbour in the row or column costs the difference of colour plus `step_cost`.
    Along one row or column the cheapest way is known in closed form; alternating the two finds
    paths with one bend more per pass.

    Args:
        lab: (B, 3, h, w) float, colours.
        x: (B, K) int64, columns of the cells.
        y: (B, K) int64, their rows.
        step_cost: price of a step between cells of one colour.
        sweeps: passes of horizontal and vertical relaxation; a path has about so many bends.

    Returns:
        (B, K, h, w).
    """
    batch, _, height, width = lab.shape
    across = lab.diff(dim=3).square().sum(1).sqrt() + step_cost  # (B, h, w - 1)
    down = lab.diff(dim=2).square().sum(1).sqrt() + step_cost  # (B, h - 1, w)
    across = F.pad(across.cumsum(2), (1, 0)).unsqueeze(-1)  # (B, h, w, 1): from the left border
    down = F.pad(down.cumsum(1), (0, 0, 1, 0)).unsqueeze(-1)
    # More than any path costs, and small enough to leave float32 its decimals.
    unreached = (across[:, :, -1].amax((1, 2)) + down[:, -1].amax((1, 2))) * (sweeps + 1)
    distance = unreached.view(-1, 1, 1).expand(batch, height * width, x.shape[1]).clone()
    distance.scatter_(1, (y * width + x).unsqueeze(1), 0.0)
    distance = distance.view(batch, height, width, -1)
    for _ in range(sweeps):
        distance = _relax(distance, across, 2)
        distance = _relax(distance, down, 1)
    return distance.permute(0, 3, 1, 2)


def _relax(distance: Tensor, price: Tensor, dim: int) -> Tensor:
    """min over j of distance[j] + |price[i] - price[j]| along `dim`; the price increases."""
    up = running_min(distance - price, dim)
    back = running_min((distance + price).flip(dim), dim).flip(dim)
    return torch.minimum(up + price, back - price)

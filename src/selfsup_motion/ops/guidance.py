"""CMP's guidance: which few pixels of a dense flow field are shown to the network (section 3.2).

"Watershed" is the name in the published code for points that lie as far as possible from any motion
edge, that is, in the middle of things that move as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.masks import check_mask

Strategy = Literal["grid", "uniform", "gradnms", "watershed", "single", "full", "specified"]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Points = NDArray[np.int64]  # (K, 2), x and y

# An edge is where the motion gradient exceeds this share of the largest one in the image.
_EDGE_SHARE = 0.1
# Below this gradient the field is still: nothing is stretched to "the largest edge".
_EDGE_FLOOR = 0.01
# Longer sides are searched for motion edges at every second, third, … pixel.
_SUBSAMPLE_SIDE = 400
_GRADIENT_PEAK = 0.1


def sample_guidance(
    flow: FloatArray,
    strategies: Sequence[Strategy] = ("grid", "watershed"),
    *,
    grid_ratio: float,
    nms_size: int,
    max_points: int = -1,
    rng: np.random.Generator,
    guide_points: NDArray[np.integer] | None = None,
    flow_valid: BoolArray | None = None,
) -> tuple[FloatArray, BoolArray, Points]:
    """Choose guidance points on a flow field and read their vectors.

    The points of all strategies are joined, shuffled and cut to `max_points`:

    - "grid": a centred square grid with a stride of int(sqrt(1 / grid_ratio)) pixels.
    - "uniform": int(grid_ratio * H * W) random pixels.
    - "watershed": maxima of the distance to the nearest motion edge (`motion_edge_peaks`), thinned
      at random until no two are closer than (nms_size - 1) / 2 in both x and y.
    - "gradnms": maxima of the motion gradient, just beside motion edges.
    - "single": one random pixel that moves.
    - "full": every pixel.
    - "specified": `guide_points`.

    Some fields have nothing to offer to a strategy: a zero, constant or affine field (pan, zoom,
    rotation) has no "watershed" points, a zero field no "gradnms" and no "single" point. This is
    not an error; without another strategy the result is then empty.

    Args:
        flow: (2, H, W) float32, (x, y) displacement in pixels, finite where valid.
        strategies: any of the above.
        grid_ratio: share of pixels for "grid" and "uniform", in (0, 1].
        nms_size: odd window in pixels within which a "watershed" or "gradnms" point is the maximum.
        max_points: at most so many points; -1 for no limit.
        rng: source of all randomness.
        guide_points: (K, 2) integer x, y for "specified".
        flow_valid: (H, W) bool; points elsewhere are dropped. None: all of the flow is valid.

    Returns:
        sparse: (2, H, W) float32, the flow at the points, zero elsewhere.
        mask: (1, H, W) bool, the points.
        points: (K, 2) int64 x, y; no pixel twice, in random order.

    Raises:
        ValueError: options that cannot give a point on any flow, or malformed arrays.
    """
    _check_options(flow, strategies, grid_ratio, nms_size, max_points, guide_points)
    if flow_valid is not None:
        check_mask("flow_valid", flow_valid, flow.shape[1:])
    flow = _finite_flow(flow, flow_valid)
    size = flow.shape[1:]
    subsample = max(1, max(size) // _SUBSAMPLE_SIDE)
    chosen: list[Points] = []
    for strategy in strategies:
        if strategy == "grid":
            chosen.append(grid_points(size, grid_ratio))
        elif strategy == "uniform":
            count = int(grid_ratio * size[0] * size[1])
            y, x = rng.integers(size[0], size=count), rng.integers(size[1], size=count)
            chosen.append(np.stack([x, y], axis=1))
        elif strategy == "watershed":
            peaks = motion_edge_peaks(flow[:, ::subsample, ::subsample], nms_size)
            chosen.append(thin_points(peaks, (nms_size - 1) // 2, rng) * subsample)
        elif strategy == "gradnms":
            peaks = motion_gradient_peaks(flow[:, ::subsample, ::subsample], nms_size)
            chosen.append(peaks * subsample)
        elif strategy == "single":
            moving = _points_of((flow != 0).any(0))
            chosen.append(moving[rng.integers(len(moving), size=min(1, len(moving)))])
        elif strategy == "full":
            chosen.append(_points_of(np.ones(size, np.bool_)))
        elif guide_points is not None:  # "specified"
            chosen.append(guide_points.astype(np.int64))
    points = np.concatenate(chosen)
    if flow_valid is not None:
        points = points[flow_valid[points[:, 1], points[:, 0]]]
    points = rng.permutation(points)
    if max_points >= 0:
        points = points[:max_points]
    _, first = np.unique(points @ np.array([1, size[1]]), return_index=True)
    points = points[np.sort(first)]

    x, y = points.T
    mask = np.zeros((1, *size), np.bool_)
    mask[0, y, x] = True
    sparse = np.zeros((2, *size), np.float32)
    sparse[:, y, x] = flow[:, y, x]
    return sparse, mask, points


def grid_points(size: tuple[int, ...], grid_ratio: float) -> Points:
    """Centred grid with stride int(sqrt(1 / grid_ratio)) on (H, W); at least one point."""
    stride = int(math.sqrt(1 / grid_ratio))
    y, x = (np.arange((side - side // stride * stride) // 2, side, stride) for side in size)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.int64)


def motion_edges(flow: FloatArray) -> FloatArray:
    """How fast the motion changes: Sobel gradient magnitude of x plus that of y motion.

    (2, H, W) pixels -> (H, W) float32; a step of one pixel between two regions gives 4. The
    outermost pixels are repeated beyond the border.
    """
    edges = np.zeros(flow.shape[1:], np.float32)
    for component in flow:
        component = np.ascontiguousarray(component)
        horizontal, vertical = (
            cv2.Sobel(component, cv2.CV_32F, dx, 1 - dx, borderType=cv2.BORDER_REFLECT)
            for dx in (1, 0)
        )
        edges += cv2.magnitude(horizontal, vertical)
    return edges


def edge_distance(edges: FloatArray) -> FloatArray:
    """Distance in pixels from each pixel to the nearest motion edge, (H, W) float32.

    An edge is where `edges` exceeds a tenth of its maximum. Without any edge there is no distance
    to speak of, and all of it is zero.
    """
    share = edges / max(float(edges.max()), _EDGE_FLOOR)
    calm = (share <= _EDGE_SHARE).view(np.uint8)
    if calm.all():
        return np.zeros_like(edges)
    distance = cv2.distanceTransform(calm, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Roots of whole numbers, in truth. OpenCV's last digit depends on its number of threads, which
    # would decide between equally far peaks.
    return np.sqrt(np.rint(np.square(distance)), dtype=np.float32)


def motion_edge_peaks(flow: FloatArray, nms_size: int) -> Points:
    """Pixels farther from any motion edge than all others in a square window around them.

    All of several equally far pixels are returned; pixels on the image border never are.

    Args:
        flow: (2, H, W) in pixels.
        nms_size: odd side of the window in pixels.

    Returns:
        (K, 2) x, y, row by row.
    """
    distance = edge_distance(motion_edges(flow))
    is_peak = (distance == _window_max(distance, nms_size)) & (distance > 0)
    is_peak[[0, -1]] = False
    is_peak[:, [0, -1]] = False
    return _points_of(is_peak)


def motion_gradient_peaks(flow: FloatArray, nms_size: int) -> Points:
    """Pixels beside motion edges: maxima of a coarse minus a fine average of `motion_edges`.

    The two box filters have a twentieth and a fortieth of the width; each average is divided by its
    maximum, and maxima of the difference above 0.1 count.

    Raises:
        ValueError: the field is narrower than 40 pixels, so that the finer box is empty.
    """
    coarse_size = flow.shape[2] // 20
    if coarse_size < 2:
        raise ValueError(
            f'strategy "gradnms" needs a flow at least 40 pixels wide, got {flow.shape[2]}; use '
            '"watershed" or a larger crop'
        )
    edges = motion_edges(flow)
    if not edges.any():
        return np.empty((0, 2), np.int64)
    coarse, fine = (
        cv2.boxFilter(edges, -1, (side, side), borderType=cv2.BORDER_REFLECT)
        for side in (coarse_size, coarse_size // 2)
    )
    score = coarse / coarse.max() - fine / fine.max()
    is_peak = (score == _window_max(score, nms_size)) & (score > _GRADIENT_PEAK)
    return _points_of(is_peak)


def thin_points(points: Points, spacing: int, rng: np.random.Generator) -> Points:
    """Drop points at random until no two are closer than `spacing` in both x and y.

    The published elimination: pairs are visited row by row, and of two close points that are both
    still there a fair coin drops one. Here each point looks only at its own neighbourhood, so time
    and memory grow with the number of points instead of its square; the coins are thrown in the
    same order, so that an equal stream of random numbers leaves the same points.

    Args:
        points: (K, 2) x, y in row-major order, no pixel twice.
        spacing: pixels.
        rng: one uniform number is drawn per dropped point.

    Returns:
        (L, 2), a subset in the same order.
    """
    if len(points) == 0 or spacing <= 1:
        return points
    x, y = (points - points.min(0)).T
    index = np.full((y[-1] + spacing, int(x.max()) + 2 * spacing), -1, np.int64)
    index[y, x + spacing] = np.arange(len(points))
    alive = np.ones(len(points), np.bool_)
    for i, (left, top) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        if not alive[i]:
            continue
        # Earlier points in reach are gone, or this one would be: look below and to the right.
        near = index[top : top + spacing, left + 1 : left + 2 * spacing].ravel()
        near = near[near > i]
        for j in near[alive[near]].tolist():
            if rng.random() > 0.5:
                alive[i] = False
                break
            alive[j] = False
    return points[alive]


def rasterize_guidance(
    points: Tensor, vectors: Tensor, point_mask: Tensor, size: tuple[int, int]
) -> Tensor:
    """Guidance as an image for the network: sparse motion and its mask.

    Args:
        points: (B, K, 2) x, y in pixels; rounded to the nearest pixel.
        vectors: (B, K, 2) motion of the points in pixels.
        point_mask: (B, K) bool; False marks padding, which is ignored whatever it holds.
        size: (H, W). Points outside are ignored.

    Returns:
        (B, 4, H, W) in the dtype of `vectors`: x motion, y motion, mask, mask. Points that share a
        pixel are averaged. Differentiable in `vectors`.

    Raises:
        ValueError: a mask that is not bool or of another shape.
    """
    check_mask("point_mask", point_mask, points.shape[:-1])
    height, width = size
    batch = points.shape[0]
    x, y = points.round().long().unbind(-1)  # (B, K)
    used = point_mask & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    cell = torch.where(used, y * width + x, 0)
    values = torch.cat([vectors, torch.ones_like(vectors[..., :1])], -1)  # (B, K, 3)
    values = torch.where(used.unsqueeze(-1), values, 0).transpose(1, 2)  # (B, 3, K)
    image = vectors.new_zeros(batch, 3, height * width)
    image = image.scatter_add(2, cell.unsqueeze(1).expand(-1, 3, -1), values)
    motion, count = image[:, :2], image[:, 2:]
    mask = (count > 0).to(image.dtype)
    guidance = torch.cat([motion / count.clamp(min=1), mask, mask], 1)
    return guidance.view(batch, 4, height, width)


def _points_of(mask: BoolArray) -> Points:
    y, x = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return np.stack([x, y], axis=1)


def _window_max(values: FloatArray, size: int) -> FloatArray:
    largest = cv2.dilate(values, np.ones((size, size), np.uint8))
    return largest.astype(np.float32, copy=False)


def _finite_flow(flow: FloatArray, flow_valid: BoolArray | None) -> FloatArray:
    finite = np.isfinite(flow)
    if finite.all():
        return flow
    if flow_valid is None or not finite[:, flow_valid].all():
        raise ValueError(
            "flow has NaN or infinite values at valid pixels; mark unknown pixels in flow_valid"
        )
    return np.where(finite, flow, np.float32(0))


def _check_options(
    flow: FloatArray,
    strategies: Sequence[Strategy],
    grid_ratio: float,
    nms_size: int,
    max_points: int,
    guide_points: NDArray[np.integer] | None,
) -> None:
    if flow.ndim != 3 or flow.shape[0] != 2 or flow.dtype != np.float32:
        raise ValueError(f"flow must be float32 (2, H, W), got {flow.dtype} {flow.shape}")
    height, width = flow.shape[1:]
    known = get_args(Strategy)
    unknown = [s for s in strategies if s not in known]
    if unknown or isinstance(strategies, str):
        raise ValueError(f"strategies must be a list out of {', '.join(known)}; got {strategies!r}")
    if len(strategies) == 0:
        raise ValueError(
            'strategies is empty, which gives no guidance points; use e.g. ["grid", "watershed"]'
        )
    if max_points == 0 or max_points < -1:
        raise ValueError(
            f"max_points={max_points} gives no guidance points; use -1 (no limit) or at least 1"
        )
    if not 0 < grid_ratio <= 1:
        raise ValueError(
            f"grid_ratio={grid_ratio} is not a share of the pixels in (0, 1]; 1/1600 gives a grid "
            "with stride 40"
        )
    if nms_size < 1 or nms_size % 2 == 0:
        raise ValueError(f"nms_size={nms_size} is not an odd number of pixels; use e.g. 17")
    if "specified" in strategies:
        if guide_points is None or guide_points.ndim != 2 or guide_points.shape[1] != 2:
            raise ValueError('strategy "specified" needs guide_points, an integer (K, 2) of x, y')
        inside = (guide_points >= 0) & (guide_points < (width, height))
        if len(guide_points) == 0 or not inside.all():
            raise ValueError(
                f"guide_points must be at least one x, y within {width}x{height} pixels, got "
                f"{guide_points.tolist()}"
            )
    elif guide_points is not None:
        raise ValueError('guide_points is given, but "specified" is not among the strategies')
    if set(strategies) <= {"uniform"} and int(grid_ratio * height * width) == 0:
        raise ValueError(
            f'strategies=["uniform"] with grid_ratio={grid_ratio} gives no points on {width}x'
            f"{height} pixels; raise grid_ratio to at least {1 / (height * width):.2g}, or add "
            '"grid"'
        )
    if set(strategies) <= {"watershed"} and min(height, width) < 3:
        raise ValueError(
            f'strategies=["watershed"] gives no points on {width}x{height} pixels (borders are '
            'left out); add "grid" or use larger crops'
        )

"""Optical flow as colours: the Middlebury colour wheel (Baker et al. 2011, section 4.1).

Hue tells the direction, saturation the magnitude; no motion is white, unknown flow is black.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Number of steps between neighbouring pure hues, chosen by Baker et al. for perceptual evenness.
_WHEEL_STEPS = (
    ((255, 0, 0), 15),
    ((255, 255, 0), 6),
    ((0, 255, 0), 4),
    ((0, 255, 255), 11),
    ((0, 0, 255), 13),
    ((255, 0, 255), 6),
)
_UNKNOWN = 1e7
_AT_ONCE = 1 << 20
"""Numbers that are painted together; their colours take fifty times as much memory on the way."""
# An image that hardly moves is not stretched to full saturation.
_MIN_SCALE = 5.0


def color_wheel() -> NDArray[np.float64]:
    """The (55, 3) RGB colours of the wheel in 0…255, starting at red towards yellow."""
    colors: list[NDArray[np.float64]] = []
    for i, (start, steps) in enumerate(_WHEEL_STEPS):
        end = np.array(_WHEEL_STEPS[(i + 1) % len(_WHEEL_STEPS)][0], np.float64)
        begin = np.array(start, np.float64)
        fraction = np.floor(255 * np.arange(steps) / steps)[:, None] / 255
        rising = fraction * (end > begin) - fraction * (end < begin)
        colors.append(begin + 255 * rising)
    return np.concatenate(colors)


@overload
def flow_to_color(flow: Tensor, max_magnitude: float | None = None) -> Tensor: ...


@overload
def flow_to_color(
    flow: NDArray[np.floating], max_magnitude: float | None = None
) -> NDArray[np.uint8]: ...


def flow_to_color(
    flow: Tensor | NDArray[np.floating], max_magnitude: float | None = None
) -> Tensor | NDArray[np.uint8]:
    """Paint optical flow.

    Args:
        flow: (…, 2, H, W) tensor or array, (x, y) displacement in pixels. Not modified.
        max_magnitude: magnitude in pixels that is painted fully saturated; larger ones are
            darkened. None: the largest one of each image, but at least 5 px. Give a number to make
            images comparable.

    Returns:
        (…, 3, H, W) uint8 RGB, a tensor on the same device or an array, as `flow` is. Pixels with
        a component that is NaN or larger than 1e7 are black.

    Raises:
        ValueError: `flow` has no two channels, or `max_magnitude` is not positive.
    """
    if flow.ndim < 3 or flow.shape[-3] != 2:
        raise ValueError(f"flow must be (…, 2, H, W), got {tuple(flow.shape)}")
    if max_magnitude is not None and not max_magnitude > 0:
        raise ValueError(f"max_magnitude must be positive, got {max_magnitude}")
    if isinstance(flow, Tensor):
        painted = _paint(flow.detach().cpu().float().numpy(), max_magnitude)
        return torch.from_numpy(painted).to(flow.device)
    return _paint(flow.astype(np.float32, copy=False), max_magnitude)


def _paint(flow: NDArray[np.float32], max_magnitude: float | None) -> NDArray[np.uint8]:
    if max_magnitude is not None and math.prod(flow.shape) > _AT_ONCE:
        rows = max(1, _AT_ONCE * flow.shape[-2] // math.prod(flow.shape))
        painted = np.empty((*flow.shape[:-3], 3, *flow.shape[-2:]), np.uint8)
        for top in range(0, flow.shape[-2], rows):
            strip = np.s_[..., top : top + rows, :]
            painted[strip] = _paint_at_once(flow[strip], max_magnitude)
        return painted
    return _paint_at_once(flow, max_magnitude)


def _paint_at_once(flow: NDArray[np.float32], max_magnitude: float | None) -> NDArray[np.uint8]:
    u, v = flow[..., 0, :, :], flow[..., 1, :, :]
    known = (np.abs(u) <= _UNKNOWN) & (np.abs(v) <= _UNKNOWN)  # False for NaN too
    u, v = np.where(known, u, 0), np.where(known, v, 0)
    if max_magnitude is None:
        largest = np.sqrt(u**2 + v**2).max((-2, -1), keepdims=True)
        scale = np.maximum(largest, _MIN_SCALE).astype(np.float64)
    else:
        scale = np.float64(max_magnitude)
    # The scale is found in float32 and applied to the components in float64, as the published code
    # does: whether the fastest pixels count as "beyond the scale" hangs on the last bit.
    scale = scale + np.finfo(np.float64).eps
    radius = np.hypot(u / scale, v / scale)[..., None]

    wheel = color_wheel() / 255
    position = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(position).astype(np.intp)
    fraction = (position - lower)[..., None]
    upper = (lower + 1) % len(wheel)
    hue = (1 - fraction) * wheel[lower] + fraction * wheel[upper]
    color = np.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    image = np.floor(255 * color * known[..., None]).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(image, -1, -3))

"""Draw a scene at given times, with the exact motion of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.toy.motion import Affine
from selfsup_motion.data.toy.scene import Layer, Scene


@dataclass(frozen=True)
class Rendering:
    """One frame and what is where in it."""

    image: NDArray[np.float32]
    """(H, W, 3) float32 in [0, 1], lit, without sensor noise."""
    owner: NDArray[np.uint8]
    """(H, W) uint8: the layer that covers most of the pixel."""
    poses: tuple[Affine, ...]
    """Object coordinates to pixel coordinates (pixel centres are whole numbers), per layer."""


def render_scene(scene: Scene, time: float, size: tuple[int, int]) -> Rendering:
    """Draw the scene as it is at `time` (frames) on `size` = (height, width) pixels."""
    height, width = size
    to_pixels = np.array([[1.0, 0, (width - 1) / 2], [0, 1.0, (height - 1) / 2], [0, 0, 1]])
    poses = tuple(to_pixels @ pose for pose in scene.poses(time))
    owner = np.zeros(size, np.uint8)
    image = _draw_background(scene.layers[0], poses[0], size)
    for index in range(1, len(scene.layers)):
        _draw_layer(image, owner, scene.layers[index], poses[index], index)
    return Rendering(image[..., :3] * _light(scene, time, size), owner, poses)


def _canvas_to_pixels(layer: Layer, pose: Affine) -> Affine:
    x, y = layer.anchor
    shifted: Affine = pose @ np.array([[1.0, 0, -x], [0, 1.0, -y], [0, 0, 1]])
    return shifted


def _draw_background(layer: Layer, pose: Affine, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 4) float32: the fourth channel only keeps pixels aligned with those of the layers."""
    drawn = cv2.warpAffine(
        layer.image, _canvas_to_pixels(layer, pose)[:2], size[::-1],
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    return np.asarray(drawn, np.float32)


def _draw_layer(
    image: NDArray[np.float32], owner: NDArray[np.uint8], layer: Layer, pose: Affine, index: int
) -> None:
    """Lay one piece over `image` and `owner`, in place, touching only the box that it covers."""
    height, width = owner.shape
    matrix = _canvas_to_pixels(layer, pose)
    h, w = layer.image.shape[:2]
    corners = matrix[:2] @ np.array([[0, w - 1, 0, w - 1], [0, 0, h - 1, h - 1], [1, 1, 1, 1]])
    x0, y0 = np.maximum(np.floor(corners.min(1)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(1)).astype(int) + 1, (width, height))
    if x0 >= x1 or y0 >= y1:
        return
    matrix[:2, 2] -= (x0, y0)
    piece = cv2.warpAffine(
        layer.image, matrix[:2], (int(x1 - x0), int(y1 - y0)),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
    )  # fmt: skip
    alpha = piece[..., 3]
    uncovered = 1 - alpha
    box = image[y0:y1, x0:x1]
    box *= cv2.merge([uncovered] * 4)  # four times faster than by broadcasting
    box += piece
    owner[y0:y1, x0:x1][alpha >= 0.5] = index


def _light(scene: Scene, time: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 3) float32 factors."""
    height, width = size
    gain, warm, green, side_x, side_y = (wave(time) for wave in scene.light)
    across = np.linspace(-side_x, side_x, width, dtype=np.float32)
    down = np.linspace(-side_y, side_y, height, dtype=np.float32)
    tint = np.array([1 + gain + warm, 1 + gain + green, 1 + gain - warm], np.float32)
    return (1 + across[None, :, None] + down[:, None, None]) * tint


@dataclass(frozen=True)
class Motion:
    """Where every pixel of one frame goes in another."""

    flow: NDArray[np.float32]
    """(2, H, W) float32: displacement (x, y) in pixels; known also for what gets hidden."""
    valid: NDArray[np.bool_]
    """(H, W) bool: the pixel's piece of surface is seen in both frames."""
    occluded: NDArray[np.bool_]
    """(H, W) bool: its place is inside the other frame, but something covers it there."""


def motion_between(first: Rendering, second: Rendering) -> Motion:
    """Exact motion: each pixel moves with the layer that owns it."""
    height, width = first.owner.shape
    moves = np.stack(
        [
            (after @ np.linalg.inv(before))[:2] - np.eye(2, 3)
            for before, after in zip(first.poses, second.poses, strict=True)
        ]
    ).astype(np.float32)
    to_x, to_y = (moves[:, axis].T[:, first.owner] for axis in range(2))  # (3, H, W) each
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    flow = np.stack([to[0] * x + to[1] * y + to[2] for to in (to_x, to_y)])

    target_x, target_y = flow[0] + x, flow[1] + y
    inside = (target_x >= 0) & (target_x <= width - 1) & (target_y >= 0) & (target_y <= height - 1)
    # All pixels that bilinear sampling would mix there must belong to the same layer: their owners'
    # variance, from interpolated first and second moments, must vanish.
    own = first.owner.astype(np.float32)
    there = second.owner.astype(np.float32)
    moments = cv2.remap(np.stack([there, there**2], axis=-1), target_x, target_y, cv2.INTER_LINEAR)
    pure = (abs(moments[..., 0] - own) < 1e-2) & (abs(moments[..., 1] - own**2) < 1e-2)
    nearest = cv2.remap(second.owner, target_x, target_y, cv2.INTER_NEAREST)
    return Motion(flow, inside & pure, inside & (nearest != first.owner))


def joint_positions(
    scene: Scene, rendering: Rendering, names: Sequence[str]
) -> NDArray[np.float32]:
    """Find the puppet's joints in a frame.

    Returns:
        (K, 3) float32: x, y in pixels and visibility: 0 = the puppet has no such joint,
        1 = hidden by another object or outside the image, 2 = visible.
    """
    height, width = rendering.owner.shape
    instances = np.array([layer.instance for layer in scene.layers])
    result = np.zeros((len(names), 3), np.float32)
    for row, name in zip(result, names, strict=True):
        if name not in scene.joints:
            continue
        layer, (x, y) = scene.joints[name]
        px, py = rendering.poses[layer][:2] @ (x, y, 1.0)
        column, line = round(px), round(py)
        visible = (
            0 <= column < width
            and 0 <= line < height
            and instances[rendering.owner[line, column]] == instances[layer]
        )
        row[:] = px, py, 2 if visible else 1
    return result

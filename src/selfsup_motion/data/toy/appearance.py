"""How things look in the toy world: textures, colours, shapes, light."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SHAPES: tuple[str, ...] = ("disc", "box", "triangle", "star", "ring", "cross")
"""Kinds of rigid sprites. A world's object classes are 0 = background, then these, then puppet."""

CLASSES: tuple[str, ...] = ("background", *SHAPES, "puppet")

_OVERSAMPLING = 4


def smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], cells: Sequence[float], channels: int
) -> NDArray[np.float32]:
    """Noise of unit variance whose finest grain is the smallest of `cells` pixels.

    Returns:
        (height, width, channels) float32.
    """
    height, width = size
    total = np.zeros((height, width, channels), np.float32)
    for cell in cells:
        grid = (int(height / cell) + 3, int(width / cell) + 3)
        coarse = rng.standard_normal((*grid, channels), dtype=np.float32)
        # one similarity for the whole octave: a random offset, `cell` pixels to a grid step
        shift = rng.uniform(0.5, 1.5, 2)
        to_grid = np.array([[1 / cell, 0, shift[0]], [0, 1 / cell, shift[1]]], np.float32)
        layer = cv2.warpAffine(
            coarse,
            to_grid,
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        total += layer.reshape(height, width, channels)
    # cubic interpolation of unit noise keeps about 0.7 of its deviation between grid points
    return total / np.float32(0.7 * np.sqrt(len(cells)))


def texture(
    rng: np.random.Generator,
    size: tuple[int, int],
    colour: NDArray[np.float64],
    cells: Sequence[float],
    contrast: float,
    chroma: float,
) -> NDArray[np.float32]:
    """Mottle a base colour in brightness (deviation `contrast`) and hue (`chroma`).

    Returns:
        (height, width, 3) float32 in [0, 1].
    """
    # brightness in all octaves, hue in the coarsest only: fine hue noise looks like nothing real
    bright = smooth_noise(rng, size, cells, 1) * np.float32(contrast)
    hue = smooth_noise(rng, size, cells[-1:], 3) * np.float32(chroma)
    result: NDArray[np.float32] = np.clip(colour.astype(np.float32) + bright + hue, 0.02, 0.98)
    return result


def related_colours(rng: np.random.Generator, count: int, similarity: float) -> NDArray[np.float64]:
    """`count` base colours, each within `similarity` of an earlier one.

    With distinct colours a colour-guided interpolation, or matching raw colours, would do without
    any learning.

    Returns:
        (count, 3) float64 in [0.15, 0.85].
    """
    colours = [rng.uniform(0.25, 0.75, 3)]
    while len(colours) < count:
        earlier = colours[rng.integers(len(colours))]
        colours.append(np.clip(earlier + rng.uniform(-similarity, similarity, 3), 0.15, 0.85))
    return np.stack(colours)


def sprite_mask(rng: np.random.Generator, shape: str, size: int) -> NDArray[np.float32]:
    """Draw a shape that fills a square of `size` pixels, with anti-aliased edges.

    Returns:
        (size, size) float32 in [0, 1].
    """
    fine = size * _OVERSAMPLING
    canvas = np.zeros((fine, fine), np.uint8)
    centre, radius = (fine - 1) / 2, 0.47 * fine
    aspect = rng.uniform(0.7, 1.0)

    def polygon(angles: NDArray[np.float64], radii: NDArray[np.float64]) -> None:
        corners = np.stack([radii * np.cos(angles), aspect * radii * np.sin(angles)], 1) + centre
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 255)

    match shape:
        case "disc" | "ring":
            axes = (round(radius), round(radius * aspect))
            middle = (round(centre), round(centre))
            cv2.ellipse(canvas, middle, axes, 0, 0, 360, 255, -1)
            if shape == "ring":
                cv2.ellipse(canvas, middle, (axes[0] // 2, axes[1] // 2), 0, 0, 360, 0, -1)
        case "box":
            corners = np.pi / 4 + np.arange(4) * np.pi / 2
            polygon(corners, np.full(4, radius))
        case "triangle":
            polygon(np.arange(3) * 2 * np.pi / 3, np.full(3, radius))
        case "star":
            points = int(rng.integers(5, 8))
            radii = np.where(np.arange(2 * points) % 2 == 0, radius, 0.5 * radius)
            polygon(np.arange(2 * points) * np.pi / points, radii)
        case "cross":
            arm = 0.38 * radius
            lengths = [(radius, arm), (arm, radius * aspect)]
            for half_width, half_height in lengths:
                low = (round(centre - half_width), round(centre - half_height))
                high = (round(centre + half_width), round(centre + half_height))
                cv2.rectangle(canvas, low, high, 255, -1)
        case _:
            raise ValueError(f"shape {shape!r} is none of {SHAPES}")
    return _shrink(canvas, (size, size))


def capsule_mask(length: float, width: float) -> NDArray[np.float32]:
    """Draw a limb: a bar with round ends, its joint at (width / 2, width / 2), along +x.

    Returns:
        (ceil(width), ceil(length + width)) float32 in [0, 1].
    """
    size = (int(np.ceil(width)), int(np.ceil(length + width)))
    canvas = np.zeros((size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING), np.uint8)
    radius = width / 2 * _OVERSAMPLING
    start, end = (radius, radius), (length * _OVERSAMPLING + radius, radius)
    cv2.circle(canvas, (round(start[0]), round(start[1])), round(0.96 * radius), 255, -1)
    cv2.circle(canvas, (round(end[0]), round(end[1])), round(0.96 * radius), 255, -1)
    low = (round(start[0]), round(radius - 0.96 * radius))
    high = (round(end[0]), round(radius + 0.96 * radius))
    cv2.rectangle(canvas, low, high, 255, -1)
    return _shrink(canvas, size)


def shaded(mask: NDArray[np.float32], strength: float, depth: float) -> NDArray[np.float32]:
    """Brightness of a round thing: 1 - strength at its rim, 1 from a few `depth` pixels inwards.

    Returns:
        (h, w) float32 factors.
    """
    if strength == 0:
        return np.ones_like(mask)
    inside = np.pad((mask > 0.5).astype(np.uint8), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(1 - strength * np.exp(-distance / depth), np.float32)


def _shrink(canvas: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    small = cv2.resize(canvas, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)

"""Outlines of things."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(N, 2) x, y."""

_CORNERS = 48
_SHIFT = 4  # bits of a pixel's fraction that OpenCV's polygons have


def outline(rng: np.random.Generator) -> Points:
    """A closed outline about the origin, of unit mean radius: smooth, angular, round or long."""
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    kind = rng.random()
    if kind < 0.45:  # a Fourier series
        radius = np.ones(_CORNERS)
        roughness = rng.uniform(0.05, 0.5)
        waves = np.arange(2, 8)
        phases = waves[:, None] * angle + rng.uniform(0, 2 * np.pi, (len(waves), 1))
        radius += (roughness / waves * rng.normal(size=len(waves))) @ np.cos(phases)
        points = np.maximum(radius, 0.15)[:, None] * _unit(angle)
    elif kind < 0.7:  # a polygon
        count = int(rng.integers(3, 9))  # one in each sector, or all could be close together
        corners = 2 * np.pi * (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count
        points = rng.uniform(0.6, 1.4, (len(corners), 1)) * _unit(corners)
    elif kind < 0.9:  # a superellipse, from a diamond to a box
        power = np.exp(rng.uniform(np.log(0.8), np.log(5)))
        unit = _unit(angle)
        points = np.sign(unit) * np.abs(unit) ** (2 / power)
    else:  # a star
        spikes = int(rng.integers(4, 9))
        angle = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False)
        points = np.where(np.arange(2 * spikes) % 2, rng.uniform(0.3, 0.8), 1.2)[:, None]
        points = points * _unit(angle)
    stretch = np.exp(rng.uniform(-0.6, 0.6))
    points = points * (stretch, 1 / stretch)
    turned = points @ rotation(rng.uniform(0, 2 * np.pi)).T
    return np.asarray(turned / np.sqrt(max(area(turned), 0.05) / np.pi))


def capsule(start: Points, end: Points, widths: tuple[float, float]) -> Points:
    """A limb: round at both ends, as wide there as told."""
    along = end - start
    direction = np.arctan2(along[1], along[0])
    half = np.linspace(-np.pi / 2, np.pi / 2, 10)
    near = start + widths[0] / 2 * _unit(direction + np.pi + half)
    far = end + widths[1] / 2 * _unit(direction + half)
    return np.concatenate([near, far])


def draw(layer: NDArray[np.int32] | NDArray[np.uint8], points: Points, value: int) -> None:
    """Fill an outline, in place; pixel centres are whole numbers."""
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(layer, [fixed], value, shift=_SHIFT)


def area(points: Points) -> float:
    """Enclosed by an outline."""
    x, y = points.T
    last = x[-1] * y[0] - y[-1] * x[0]
    return 0.5 * abs(float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]) + last))


def rotation(angle: float) -> NDArray[np.float64]:
    """(2, 2), from x towards y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _unit(angle: NDArray[np.float64]) -> Points:
    return np.stack([np.cos(angle), np.sin(angle)], -1)

"""Coats of things and backgrounds: natural spectra, patterns, dead leaves."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.worlds.shapes import draw, outline

Picture = NDArray[np.float32]
"""(H, W, 3) RGB in [0, 255]."""

_SIDE = 256
"""Of a noise field, pixels; it repeats."""


class Textures:
    """Draws textures of any size.

    The noise fields and the dead leaves depend on the seed alone and are made when they are first
    needed; which of them a texture is cut from, and how it is coloured, is drawn anew.

    Args:
        seed: of the fields.
        num_fields: noise fields to choose from.
        num_leaves: pictures of dead leaves to choose from.
    """

    def __init__(self, seed: int, num_fields: int = 64, num_leaves: int = 48) -> None:
        self.seed, self.num_fields, self.num_leaves = seed, num_fields, num_leaves
        self._field = lru_cache(maxsize=None)(self._make_field)
        self._leaves = lru_cache(maxsize=None)(self._make_leaves)

    def __getstate__(self) -> dict[str, int]:
        return {n: getattr(self, n) for n in ("seed", "num_fields", "num_leaves")}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def coat(self, size: tuple[int, int], rng: np.random.Generator) -> Picture:
        """What one thing is covered with."""
        first = colour(rng)
        second = first + _drawn(0.1, 1.0, rng) * (colour(rng) - first)
        kind = rng.random()
        if kind < 0.2:  # nearly plain
            share = np.float32(0.15) * self.noise(size, rng)
        elif kind < 0.6:
            share = 0.5 + _drawn(0.1, 0.5, rng) * self.noise(size, rng)
        elif kind < 0.75:  # patches of two colours
            share = 0.5 + _drawn(1, 6, rng) * (
                self.noise(size, rng) - np.float32(rng.normal(0, 0.5))
            )
        elif kind < 0.9:
            share = 0.5 + _drawn(0.5, 4, rng) * self._stripes(size, rng)
        else:
            share = 0.5 + _drawn(1, 6, rng) * self._stripes(size, rng) * self._stripes(size, rng)
        fine = _drawn(0, 12, rng) * self.noise(size, rng)
        picture = np.clip(share, 0, 1)[..., None] * (second - first)
        picture += first
        picture += fine[..., None]
        return np.asarray(picture, np.float32)

    def backdrop(self, size: tuple[int, int], rng: np.random.Generator) -> Picture:
        """A background: dead leaves, or a few coats that meet along soft borders."""
        if rng.random() < 0.6:
            leaves = self._leaves(int(rng.integers(self.num_leaves)))
            part = _window(leaves, size, rng)
            mixed = part @ _colour_mix(rng) + rng.normal(0, 15)
            return np.asarray(mixed, np.float32)
        picture = self.coat(size, rng)
        for _ in range(int(rng.integers(0, 3))):
            level = np.float32(rng.normal(0, 0.7))
            border = _drawn(2, 30, rng) * (self.noise(size, rng, smooth=True) + level)
            share = 0.5 + 0.5 * np.tanh(border)[..., None]
            picture = picture + share * (self.coat(size, rng) - picture)
        return picture

    def noise(
        self, size: tuple[int, int], rng: np.random.Generator, *, smooth: bool = False
    ) -> NDArray[np.float32]:
        """(H, W) of about zero mean and unit variance; power falls with frequency."""
        number = int(rng.integers(self.num_fields))
        if smooth:
            number -= number % 4  # every fourth field
        return _window(self._field(number), size, rng)

    def _stripes(self, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """(H, W) in [-1, 1]."""
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(40)))
        x = np.arange(size[1], dtype=np.float32) * np.float32(2 * np.pi / period * np.cos(angle))
        y = np.arange(size[0], dtype=np.float32) * np.float32(2 * np.pi / period * np.sin(angle))
        bent = _drawn(0, 2, rng) * self.noise(size, rng, smooth=True)
        return np.asarray(np.sin(x + y[:, None] + bent + _drawn(0, 6.3, rng)), np.float32)

    def _make_field(self, number: int) -> NDArray[np.float32]:
        rng = np.random.default_rng((self.seed, 0, number))
        slope = rng.uniform(1.5, 2.2) if number % 4 == 0 else rng.uniform(0.6, 1.8)
        fy = np.fft.fftfreq(_SIDE)[:, None] * _SIDE
        fx = np.fft.rfftfreq(_SIDE)[None] * _SIDE
        angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 1.4))
        along = (np.cos(angle) * fx + np.sin(angle) * fy) * stretch
        across = np.cos(angle) * fy - np.sin(angle) * fx
        radius = np.hypot(along, across)
        radius[0, 0] = 1
        spectrum = np.fft.rfft2(rng.normal(size=(_SIDE, _SIDE))) * radius**-slope
        spectrum[0, 0] = 0
        field = np.fft.irfft2(spectrum, (_SIDE, _SIDE))
        return np.tile((field / field.std()).astype(np.float32), (2, 2))

    def _make_leaves(self, number: int) -> Picture:
        rng = np.random.default_rng((self.seed, 1, number))
        side = 2 * _SIDE
        ids = np.zeros((side, side), np.int32)
        count = int(np.exp(rng.uniform(np.log(60), np.log(900))))
        smallest = rng.uniform(4, 16)
        # a density of r^-2 to r^-3, as the sizes of things in photos
        radii = smallest / np.maximum(rng.random(count), 0.02) ** rng.uniform(0.5, 1)
        for leaf, radius in enumerate(radii, 1):
            points = outline(rng) * min(radius, side / 3) + rng.uniform(0, side, 2)
            draw(ids, points, leaf)
        y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
        base = np.stack([colour(rng) for _ in range(count + 1)])
        common = colour(rng)
        base = common + rng.uniform(0.4, 1.0) * (base - common)
        ramp = rng.normal(0, 60, (2, count + 1)).astype(np.float32)
        grain = rng.uniform(0, 25, count + 1).astype(np.float32)
        shade = ramp[0][ids] * x + ramp[1][ids] * y
        texture = _window(self._field(int(rng.integers(self.num_fields))), (side, side), rng)
        light = shade + grain[ids] * texture
        return np.asarray(base[ids] + light[..., None], np.float32)


def colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """(3,) RGB in [0, 255]; pale colours are more frequent than strong ones."""
    hue = rng.uniform(0, 6)
    strength, value = rng.beta(1.2, 2.5), 255 * rng.beta(1.6, 1.6)
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - strength + strength * wheel), np.float32)


def _drawn(low: float, high: float, rng: np.random.Generator) -> np.float32:
    """A number between two; in single precision, so that pictures stay so."""
    return np.float32(rng.uniform(low, high))


def _colour_mix(rng: np.random.Generator) -> NDArray[np.float32]:
    """(3, 3): swaps the channels and mixes them a little."""
    mix = np.eye(3)[rng.permutation(3)] * rng.uniform(0.6, 1.2)
    return np.asarray(mix + rng.normal(0, 0.1, (3, 3)), np.float32)


def _window(
    field: NDArray[np.float32], size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Cut a window of random scale and orientation."""
    zoom = np.exp(rng.uniform(np.log(0.6), np.log(3)))
    height, width = (max(8, min(round(n / zoom), len(field) // 2)) for n in size)
    top, left = rng.integers(len(field) - height + 1), rng.integers(len(field) - width + 1)
    part = field[top : top + height, left : left + width]
    turn = int(rng.integers(4))
    part = part[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    scaled = cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(scaled, np.float32)

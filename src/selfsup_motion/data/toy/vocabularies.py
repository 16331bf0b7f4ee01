"""Vocabularies of actions that differ in one respect only: speed, direction, order, repetitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from selfsup_motion.data.toy.motion import PATTERNS, Pattern, Track, Wave

Vocabulary = Literal["actions", "speed", "direction", "order", "repetitions"]

MOST_REPETITIONS = 3


def vocabulary(name: Vocabulary, num_frames: int) -> dict[str, Pattern]:
    """The classes of a world and how its objects move in each.

    - `actions`: the eight patterns of `motion.PATTERNS`.
    - `speed`: along a line of any heading, at 0.4, 0.9 or 1.6 times the drawn speed.
    - `direction`: right, down, left or up, up to 15° off.
    - `order`: half of the video along x, half along y, or the other way round; either way.
    - `repetitions`: once, twice or three times to and fro in the video. The speed does not depend
      on how often: what is repeated more often is shorter.

    Where a path is passed once, it is half done in the middle of the video, at the object's place.

    Args:
        name: which one.
        num_frames: of the video.

    Raises:
        KeyError: there is no vocabulary of this name.
    """
    made: dict[str, Callable[[float], dict[str, Pattern]]] = {
        "actions": lambda _: PATTERNS,
        "speed": _speeds,
        "direction": _directions,
        "order": _orders,
        "repetitions": _repetitions,
    }
    return made[name](num_frames - 1)


def _speeds(duration: float) -> dict[str, Pattern]:
    factors = {"slow": 0.4, "medium": 0.9, "fast": 1.6}

    def move(
        factor: float, rng: np.random.Generator, track: Track, speed: float, reach: float
    ) -> Track:
        return _straight(track, factor * speed, rng.uniform(0, 2 * np.pi), duration)

    return {name: partial(move, factor) for name, factor in factors.items()}


def _directions(duration: float) -> dict[str, Pattern]:
    def move(
        heading: float, rng: np.random.Generator, track: Track, speed: float, reach: float
    ) -> Track:
        off = rng.uniform(-np.pi, np.pi) / 12
        return _straight(track, speed, heading + off, duration)

    names = ("right", "down", "left", "up")
    return {name: partial(move, quarter * np.pi / 2) for quarter, name in enumerate(names)}


def _orders(duration: float) -> dict[str, Pattern]:
    middle = duration / 2

    def move(
        across_first: bool, rng: np.random.Generator, track: Track, speed: float, reach: float
    ) -> Track:
        x, y = (speed * float(sign) for sign in rng.choice([-1, 1], 2))
        first, second = {"end": middle}, {"begin": middle}
        along_x, along_y = (first, second) if across_first else (second, first)
        return replace(
            track,
            x=replace(track.x, offset=track.x.offset - x * middle, rate=x, **along_x),
            y=replace(track.y, offset=track.y.offset - y * middle, rate=y, **along_y),
        )

    return {"across_first": partial(move, True), "along_first": partial(move, False)}


def _repetitions(duration: float) -> dict[str, Pattern]:
    def move(
        times: int, rng: np.random.Generator, track: Track, speed: float, reach: float
    ) -> Track:
        frequency = 2 * np.pi * times / (duration + 1)
        heading, phase = rng.uniform(0, 2 * np.pi, 2)
        size = speed / frequency
        return replace(
            track,
            x=replace(track.x, amplitude=size * np.cos(heading), frequency=frequency, phase=phase),
            y=replace(track.y, amplitude=size * np.sin(heading), frequency=frequency, phase=phase),
        )

    return {f"{n}x": partial(move, n) for n in range(1, MOST_REPETITIONS + 1)}


def _straight(track: Track, speed: float, heading: float, duration: float) -> Track:
    rates = speed * np.cos(heading), speed * np.sin(heading)
    x, y = (
        Wave(offset=rest.offset - rate * duration / 2, rate=float(rate))
        for rest, rate in zip((track.x, track.y), rates, strict=True)
    )
    return replace(track, x=x, y=y)

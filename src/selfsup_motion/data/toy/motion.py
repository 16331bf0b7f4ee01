"""How things move in the toy world: closed-form poses, so that any frame can be rendered alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
"""(3, 3) float64 homogeneous matrix acting on column vectors (x, y, 1)."""


@dataclass(frozen=True)
class Wave:
    """A scalar of time: offset + rate·t + amplitude·sin(frequency·t + phase), t in frames.

    Before `begin` and after `end`, the part with the rate stands still.
    """

    offset: float = 0.0
    amplitude: float = 0.0
    frequency: float = 0.0
    phase: float = 0.0
    rate: float = 0.0
    begin: float = -np.inf
    end: float = np.inf

    def __call__(self, time: float) -> float:
        """Value at `time`."""
        oscillation = self.amplitude * np.sin(self.frequency * time + self.phase)
        moved = self.rate * min(max(time, self.begin), self.end)
        return float(self.offset + moved + oscillation)


@dataclass(frozen=True)
class Track:
    """A similarity transform of time: where an object's own coordinates are in its parent's."""

    x: Wave = Wave()
    y: Wave = Wave()
    angle: Wave = Wave()
    log_scale: Wave = Wave()
    pivot: tuple[float, float] = (0.0, 0.0)
    """The point of the object's own coordinates that is put at (x, y) and turned about."""

    def __call__(self, time: float) -> Affine:
        """Object coordinates to the parent's, at `time`."""
        scale = np.exp(self.log_scale(time))
        cos, sin = scale * np.cos(self.angle(time)), scale * np.sin(self.angle(time))
        px, py = self.pivot
        x, y = self.x(time), self.y(time)
        return np.array(
            [
                [cos, -sin, x - cos * px + sin * py],
                [sin, cos, y - sin * px - cos * py],
                [0.0, 0.0, 1.0],
            ]
        )


def oscillation(
    rng: np.random.Generator, peak_rate: float, amplitude: tuple[float, float]
) -> tuple[float, float]:
    """Draw (amplitude, frequency) of a wave whose fastest change per frame is `peak_rate`."""
    size = rng.uniform(*amplitude)
    return size, peak_rate / size


def _slide(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """To and fro along a line."""
    size, frequency = oscillation(rng, speed, (0.5 * reach, reach))
    phase, heading = rng.uniform(0, 2 * np.pi, 2)
    return replace(
        track,
        x=replace(track.x, amplitude=size * np.cos(heading), frequency=frequency, phase=phase),
        y=replace(track.y, amplitude=size * np.sin(heading), frequency=frequency, phase=phase),
    )


def _orbit(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """Round a circle, either way."""
    size, frequency = oscillation(rng, speed, (0.4 * reach, 0.8 * reach))
    phase, turn = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    return replace(
        track,
        x=replace(track.x, amplitude=size, frequency=frequency, phase=phase),
        y=replace(track.y, amplitude=turn * size, frequency=frequency, phase=phase + np.pi / 2),
    )


def _eight(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """A lying or standing figure of eight."""
    size, frequency = oscillation(rng, 0.7 * speed, (0.5 * reach, reach))
    phase = rng.uniform(0, 2 * np.pi)
    slow = Wave(amplitude=size, frequency=frequency, phase=phase)
    fast = Wave(amplitude=0.5 * size, frequency=2 * frequency, phase=2 * phase)
    if rng.random() < 0.5:
        slow, fast = fast, slow
    return replace(
        track, x=replace(slow, offset=track.x.offset), y=replace(fast, offset=track.y.offset)
    )


def _hop(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """Sideways slowly, up and down four times as fast."""
    size, frequency = oscillation(rng, 0.35 * speed, (0.5 * reach, reach))
    phase = rng.uniform(0, 2 * np.pi)
    return replace(
        track,
        x=replace(track.x, amplitude=size, frequency=frequency, phase=phase),
        y=replace(track.y, amplitude=0.6 * size, frequency=4 * frequency, phase=phase),
    )


def _spin(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """Turning on the spot, always the same way."""
    rate = rng.choice([-1, 1]) * rng.uniform(0.3, 0.5) * speed / reach
    return replace(_slide(rng, track, 0.25 * speed, reach), angle=Wave(rate=rate))


def _swing(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """A pendulum: turning to and fro about a point off the centre."""
    arm = rng.uniform(0.6, 1.0) * reach
    heading, phase = rng.uniform(0, 2 * np.pi, 2)
    size, frequency = oscillation(rng, speed / (1.5 * arm), (0.4, 0.8))
    pivot = (arm * np.cos(heading), arm * np.sin(heading))
    return replace(
        track,
        x=replace(track.x, offset=track.x.offset + pivot[0]),
        y=replace(track.y, offset=track.y.offset + pivot[1]),
        angle=Wave(amplitude=size, frequency=frequency, phase=phase),
        pivot=pivot,
    )


def _pulse(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """Growing and shrinking, as if coming and going."""
    size, frequency = oscillation(rng, rng.uniform(0.5, 1.0) * speed / reach, (0.15, 0.3))
    wave = Wave(amplitude=size, frequency=frequency, phase=rng.uniform(0, 2 * np.pi))
    return replace(_slide(rng, track, 0.25 * speed, reach), log_scale=wave)


def _shake(rng: np.random.Generator, track: Track, speed: float, reach: float) -> Track:
    """Short and quick to and fro."""
    return _slide(rng, track, speed, 0.3 * reach)


Pattern = Callable[[np.random.Generator, Track, float, float], Track]
"""(rng, track at rest, peak speed in px per frame, reach in px) → the track in motion."""

PATTERNS: dict[str, Pattern] = {
    "slide": _slide,
    "orbit": _orbit,
    "eight": _eight,
    "hop": _hop,
    "spin": _spin,
    "swing": _swing,
    "pulse": _pulse,
    "shake": _shake,
}
"""The vocabulary of actions."""

ACTIONS: tuple[str, ...] = tuple(PATTERNS)
"""Names of the action labels, in label order."""

"""Curves as pictures, with nothing but OpenCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 30, 40
_COLOURS = ((31, 90, 200), (214, 90, 20), (30, 140, 60), (120, 120, 120), (150, 60, 160))


def plot_curves(
    ticks: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str,
    top: float | None = None,
) -> Image:
    """Draw curves over evenly spaced ticks; values that are NaN leave a gap.

    Args:
        ticks: what stands below the x axis.
        curves: label to values ≥ 0, one a tick.
        title: above the plot.
        x_label: below the ticks.
        top: upper end of the y axis, which begins at 0. None: a round number above all values.

    Returns:
        (300, 420, 3) uint8.
    """
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    if top is None:
        top = _round_up(max((v for c in curves.values() for v in c if np.isfinite(v)), default=1.0))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for share in np.linspace(0, 1, 6):
        y = round(bottom - share * (bottom - _TOP))
        cv2.line(canvas, (_LEFT, y), (right, y), (225, 225, 225), 1)
        _text(canvas, f"{share * top:.3g}", (8, y + 4))
    columns = np.linspace(_LEFT + 14, right - 14, len(ticks)).round().astype(int)
    for x, tick in zip(columns, ticks, strict=True):
        _text(canvas, str(tick), (int(x) - 4 * len(str(tick)), bottom + 16))
    _text(canvas, title, (_LEFT, 18))
    _text(canvas, x_label, (_LEFT, _HEIGHT - 8))
    for index, (label, values) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [
            (int(x), round(bottom - min(v / top, 1.0) * (bottom - _TOP)))
            for x, v in zip(columns, values, strict=True)
            if np.isfinite(v)
        ]
        for start, end in pairwise(places):
            cv2.line(canvas, start, end, colour, 2, cv2.LINE_AA)
        for place in places:
            cv2.circle(canvas, place, 3, colour, -1, cv2.LINE_AA)
        _text(canvas, label, (right - 150, _TOP + 14 + 15 * index), colour)
    return canvas


def _round_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(next(power * n for n in (1, 2, 5, 10) if power * n >= value))


def _text(
    canvas: Image, text: str, place: tuple[int, int], colour: tuple[int, int, int] = (30, 30, 30)
) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)

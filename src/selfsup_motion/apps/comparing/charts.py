"""Charts of a study as PNG: bars of a table, curves."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.apps.comparing.curves import Curves
from selfsup_motion.apps.comparing.results import Table

_ROW, _LEFT, _WIDTH, _TOP = 26, 230, 760, 34
_HEIGHT, _MARGIN = 360, 56
_BAR, _REFERENCE, _INK, _PALE = (200, 120, 60), (150, 150, 150), (40, 40, 40), (225, 225, 225)
_COLOURS = (
    (180, 119, 31), (14, 127, 255), (44, 160, 44), (40, 39, 214), (189, 103, 148), (75, 86, 140),
    (194, 119, 227), (34, 189, 188), (207, 190, 23), (127, 127, 127),
)  # fmt: skip
"""Blue, green, red; behind the last, lines are dashed and begin with the first again."""

Canvas = NDArray[np.uint8]


def bars(table: Table) -> bytes:
    """Bars from zero, with a line of one standard deviation to both sides."""
    canvas: Canvas = np.full((_TOP + _ROW * len(table.rows) + 12, _WIDTH, 3), 255, np.uint8)
    low = min(0.0, *(row.mean - (row.spread or 0) for row in table.rows))
    high = max(0.0, *(row.mean + (row.spread or 0) for row in table.rows)) or 1.0
    scale = (_WIDTH - _LEFT - 90) / (high - low)

    def place(value: float) -> int:
        return round(_LEFT + (value - low) * scale)

    _text(canvas, f"{table.title}: {table.metric}", (10, 20))
    for index, row in enumerate(table.rows):
        y = _TOP + _ROW * index
        colour = _REFERENCE if row.samples is None else _BAR
        cv2.rectangle(canvas, (place(0.0), y + 4), (place(row.mean), y + 20), colour, -1)
        if row.spread is not None:
            ends = (place(row.mean - row.spread), place(row.mean + row.spread))
            cv2.line(canvas, (ends[0], y + 12), (ends[1], y + 12), _INK, 1, cv2.LINE_AA)
        _text(canvas, row.name[:32], (10, y + 17))
        _text(canvas, f"{row.mean:.3f}", (place(row.mean + (row.spread or 0)) + 8, y + 17))
    return _png(canvas)


def curves(chart: Curves) -> bytes:
    """Lines over samples, each point with one standard deviation; rows without training as grey
    levels. Their names are in a list on the right."""
    names = [*chart.lines, *chart.levels]
    height = max(_HEIGHT, _TOP + 18 * len(names) + 20)
    canvas: Canvas = np.full((height, _WIDTH, 3), 255, np.uint8)
    points = [point for line in chart.lines.values() for point in line]
    values = [mean + sign * (spread or 0) for _, mean, spread in points for sign in (-1, 1)]
    values += chart.levels.values()
    low, high = min(values), max(values)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    digits = min(max(1 - math.floor(math.log10(high - low)), 0), 6)  # so that ticks differ
    most = max(samples for samples, _, _ in points) or 1
    right, bottom = _WIDTH - 250, height - 36

    def place(samples: float, value: float) -> tuple[int, int]:
        x = _MARGIN + samples / most * (right - _MARGIN)
        return round(x), round(bottom - (value - low) / (high - low) * (bottom - _TOP - 6))

    _text(canvas, chart.title, (10, 20))
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        y = place(0, value)[1]
        cv2.line(canvas, (_MARGIN, y), (right, y), _PALE, 1)
        _text(canvas, f"{value:.{digits}f}", (6, y + 4))
        _text(canvas, f"{round(share * most)}", (place(share * most, low)[0] - 12, bottom + 18))
    _text(canvas, "samples", (right + 14, bottom + 18))
    for value in chart.levels.values():
        y = place(0, value)[1]
        cv2.line(canvas, (_MARGIN, y), (right, y), _REFERENCE, 1, cv2.LINE_AA)
    for index, line in enumerate(chart.lines.values()):
        colour = _COLOURS[index % len(_COLOURS)]
        ends = [place(samples, mean) for samples, mean, _ in line]
        for first, second in pairwise(ends):
            _stroke(canvas, first, second, colour, dashed=index >= len(_COLOURS))
        for samples, mean, spread in line:
            cv2.circle(canvas, place(samples, mean), 3, colour, -1, cv2.LINE_AA)
            if spread:
                cv2.line(canvas, place(samples, mean - spread), place(samples, mean + spread),
                         colour, 1, cv2.LINE_AA)  # fmt: skip
    for index, name in enumerate(names):
        y = _TOP + 18 * index + 8
        is_level = name not in chart.lines
        colour = _REFERENCE if is_level else _COLOURS[index % len(_COLOURS)]
        _stroke(canvas, (right + 14, y), (right + 38, y), colour,
                dashed=not is_level and index >= len(_COLOURS))  # fmt: skip
        _text(canvas, name[:28], (right + 44, y + 4))
    return _png(canvas)


def _stroke(
    canvas: Canvas,
    first: tuple[int, int],
    second: tuple[int, int],
    colour: tuple[int, int, int],
    *,
    dashed: bool,
) -> None:
    if not dashed:
        cv2.line(canvas, first, second, colour, 2, cv2.LINE_AA)
        return
    start, end = np.array(first, float), np.array(second, float)
    pieces = max(1, round(float(np.linalg.norm(end - start)) / 5))
    for piece in range(0, pieces, 2):
        ends = [start + (end - start) * (piece + more) / pieces for more in (0, 1)]
        (x, y), (x2, y2) = (np.round(one).astype(int).tolist() for one in ends)
        cv2.line(canvas, (x, y), (x2, y2), colour, 2, cv2.LINE_AA)


def _text(canvas: Canvas, text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)


def _png(canvas: Canvas) -> bytes:
    return cv2.imencode(".png", canvas)[1].tobytes()

"""Pictures inside of answers."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.flow_color import flow_to_color

_COLOUR_SIDE = 512
_GRID = 26
"""Arrows of the drawn flow along the longer side."""
_LEAST_SHOWN = 0.04
"""Share of the longest motion below which no arrow of the grid is drawn."""


def data_url(picture: NDArray[np.uint8]) -> str:
    """(H, W, 3) RGB as a PNG in a URL."""
    _, png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"


def flow_view(field: NDArray[np.float32], scale: float = 1.0) -> dict[str, Any]:
    """A flow as the page draws it: colours, and arrows on a grid.

    Args:
        field: (2, H, W), of the picture or of a smaller copy, in pixels of its own.
        scale: pixels of the picture for one of the field.
    """
    height, width = field.shape[-2:]
    shrink = min(1.0, _COLOUR_SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = np.stack([cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in field])
    longest = float(np.hypot(*field).max())
    return {
        "colours": data_url(flow_to_color(small, max(longest, 1.0)).transpose(1, 2, 0)),
        "grid": _grid(field, longest, scale),
        "longest": round(longest * scale, 2),
    }


def _grid(field: NDArray[np.float32], longest: float, scale: float) -> list[list[float]]:
    """[[x, y, dx, dy], …] of a (2, H, W) flow where it moves, in pixels of the picture."""
    height, width = field.shape[-2:]
    step = max(height, width) / _GRID
    rows = []
    for y in np.arange(step / 2, height, step).astype(int):
        for x in np.arange(step / 2, width, step).astype(int):
            dx, dy = (float(value) for value in field[:, y, x])
            if np.hypot(dx, dy) > _LEAST_SHOWN * max(longest, 1e-6):
                place = [int((value + 0.5) * scale) for value in (x, y)]
                rows.append([*place, round(dx * scale, 2), round(dy * scale, 2)])
    return rows

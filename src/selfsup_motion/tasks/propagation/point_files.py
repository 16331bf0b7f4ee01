"""Points in JSON: of one frame as input, of all frames as output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.data.reading.pictures import read_bytes
from selfsup_motion.errors import UserError

if TYPE_CHECKING:
    from selfsup_motion.tasks.propagation.keypoints import Points


def read_point_list(path: Path) -> tuple[list[str], Points]:
    """Names and positions of points: `{"nose": [x, y], …}` or `[[x, y], …]`, in pixels.

    Returns:
        K names and (K, 2) x, y.

    Raises:
        UserError: no such file, or another form.
    """
    content = parsed_json(read_bytes(path, str(path)), str(path))
    named = content if isinstance(content, dict) else None
    rows = list(named.values()) if named is not None else content
    try:
        points = np.array(rows, np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise UserError(f'{path}: expected points in pixels, [[x, y], …] or {{"nose": [x, y], …}}.')
    names = list(named) if named is not None else [str(i) for i in range(len(points))]
    return names, points


class PointWriter:
    """Writes `{"names": […], "frames": [[[x, y] or null, …], …]}`, a line per frame.

    A context manager. A lost point is null.

    Args:
        path: of the file.
        names: of the points.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._stream = path.open("w", encoding="utf-8")
        self._stream.write(f'{{"names": {json.dumps(list(names))}, "frames": [')
        self._separator = "\n"

    def __enter__(self) -> PointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.write("\n]}\n")
        self._stream.close()

    def write(self, points: Points) -> None:
        """Add a frame, (K, 2) x, y; negative where lost."""
        row = [None if x < 0 else [round(float(x), 2), round(float(y), 2)] for x, y in points]
        self._stream.write(f"{self._separator}{json.dumps(row)}")
        self._separator = ",\n"

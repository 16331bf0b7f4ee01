"""Points of all frames, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfsup_motion.tasks.propagation.keypoints import Points


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

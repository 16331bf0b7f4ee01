"""Files of colour classes: what `fit_colors` writes and `method.centroids` names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from selfsup_motion.errors import UserError
from selfsup_motion.ops.color import LabQuantizer

Centroids = Sequence[Sequence[float]]
"""(K, 2) a and b of Lab."""


def write_centroids(path: Path, centroids: Centroids) -> None:
    """Write a new file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[round(float(value), 4) for value in row] for row in centroids]
    path.write_text(json.dumps({"centroids": rows}, indent=1) + "\n")


def read_centroids(path: str | Path) -> Centroids:
    """Read a file.

    Raises:
        UserError: it is missing or holds something else.
    """
    try:
        rows: Centroids = json.loads(Path(path).read_text())["centroids"]
        LabQuantizer(rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"method.centroids={path}: not a file of colours, make one with `python -m "
            f"selfsup_motion.fit_colors` ({type(error).__name__}: {error})."
        ) from error
    return rows

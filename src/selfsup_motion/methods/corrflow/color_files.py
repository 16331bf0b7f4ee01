"""Files of colour classes: what `fit_colors` writes and `method.centroids` names."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from selfsup_motion.data.reading.lists import checked
from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import write_text
from selfsup_motion.ops.color import LabQuantizer

Centroids = Sequence[Sequence[float]]
"""(K, 2) a and b of Lab."""

_SUM = "crc32"


def write_centroids(path: Path, centroids: Centroids) -> None:
    """Write a new file, making its folder."""
    rows = [[round(float(value), 4) for value in row] for row in centroids]
    content = {"centroids": rows, _SUM: _checksum(rows)}
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_centroids(path: str | Path) -> Centroids:
    """Read a file.

    Raises:
        UserError: it is missing, damaged, or holds something else.
    """
    try:
        content = json.loads(checked(Path(path).read_bytes(), str(path)))
        rows: Centroids = content["centroids"]
        LabQuantizer(rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"method.centroids={path}: not a file of colours, make one with `python -m "
            f"selfsup_motion.fit_colors` ({type(error).__name__}: {error})."
        ) from error
    if content.get(_SUM) not in (None, _checksum(rows)):
        raise UserError(
            f"method.centroids={path}: its numbers have changed since it was written. If you "
            f"changed them, remove {_SUM} from the file; otherwise it is damaged: make it again."
        )
    return rows


def _checksum(rows: Centroids) -> int:
    return zlib.crc32(json.dumps(rows).encode())

"""Folders of runs on the disk: which file of a run is meant, and which runs a folder holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.shipped import shipped

CHECKPOINTS = ("best.ckpt", "last.ckpt")
"""In `<run folder>/checkpoints`; of several the first is meant."""

MODEL_FILE = "model.safetensors"
"""In a folder that `python -m selfsup_motion.export format=safetensors` has made."""

_SHOWN = 5


def checkpoint_in(folder: Path) -> Path | None:
    """`checkpoints/best.ckpt` of a run folder, else `last.ckpt`; None if it has neither."""
    files = (folder / "checkpoints" / name for name in CHECKPOINTS)
    return next((file for file in files if file.is_file()), None)


def checkpoint_file(path: str | Path) -> Path:
    """The checkpoint that is meant: a file itself, that of a run folder or of an exported one, or
    a shipped model.

    Args:
        path: of a file or folder, or the name of a model that comes with the package. For a
            file or folder that happens to be called so, write `./name`.

    Raises:
        CheckpointError: there is no such path, or it is a folder of something else. If runs are
            below it, they are named.
    """
    models = shipped()
    if isinstance(path, str) and path in models:
        return models[path].file
    path = Path(path)
    if not path.exists():
        named = f"; the package has {', '.join(models)}" if models else ""
        raise CheckpointError(f"{path}: there is no such checkpoint or run folder{named}.")
    if not path.is_dir():
        return path
    if (file := checkpoint_in(path)) is not None:
        return file
    if (exported := path / MODEL_FILE).is_file():
        return exported
    runs = newest_first(runs_below(path))
    if not runs:
        raise CheckpointError(f"{path}: not a run folder, it has no checkpoints/last.ckpt.")
    named = ", ".join(map(str, runs[:_SHOWN]))
    more = f" and {len(runs) - _SHOWN} older ones" if len(runs) > _SHOWN else ""
    raise CheckpointError(
        f"{path}: not a run folder, but a folder of runs; name one: {named}{more}."
    )


def runs_below(folder: Path) -> Iterator[Path]:
    """The run folders below a folder that have a checkpoint; not what is inside of a run."""
    for place, names, files in os.walk(folder):
        if "checkpoints" in names and checkpoint_in(Path(place)) is not None:
            yield Path(place)
        if "checkpoints" in names or "config.yaml" in files:
            names.clear()
        names.sort()


def newest_first(runs: Iterable[Path]) -> list[Path]:
    """Run folders by the time at which they last wrote a checkpoint."""
    return sorted(runs, key=_time, reverse=True)


def _time(run: Path) -> tuple[int, str]:
    """When the run last wrote a checkpoint."""
    files = (run / "checkpoints" / name for name in CHECKPOINTS)
    return max(file.stat().st_mtime_ns for file in files if file.is_file()), str(run)

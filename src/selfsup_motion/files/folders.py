"""Making folders in such a way that they can be removed again without harm to others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it.

    Returns:
        Those that this call has made, the deepest last.

    Raises:
        OSError: one of them cannot be made; those that were made are removed again.
    """
    made: list[Path] = []
    for path in reversed((folder, *folder.parents)):
        if path.is_dir():
            continue
        try:
            path.mkdir()
            made.append(path)
        except OSError:
            if path.is_dir():  # another process was faster
                continue
            remove_empty(made)
            raise
    return made


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the last one first, as long as they are empty."""
    for folder in reversed(folders):
        try:
            folder.rmdir()
        except OSError:
            return

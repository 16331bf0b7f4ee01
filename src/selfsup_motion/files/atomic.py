"""Files and folders that appear complete or not at all, whenever the process is killed.

All results that a later run takes over are written so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsup_motion.text.names import register_handler


@contextmanager
def new_file(path: Path, drafts: Path | None = None) -> Iterator[Path]:
    """Give a temporary name below `drafts`; what is written there becomes `path` at the end.

    An exception leaves nothing. `drafts` must be on the same file system as `path`; None is the
    folder of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = (drafts or path.parent) / f".{path.name}.{os.getpid()}.tmp"
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with new_file(path) as draft:
        draft.write_text(text, encoding="utf-8", errors=register_handler())


def folder_size(path: Path) -> list[int]:
    """Number of files directly in a folder and their bytes together; of no folder, zeros."""
    try:
        with os.scandir(path) as entries:
            sizes = [entry.stat().st_size for entry in entries]
    except OSError:
        return [0, 0]
    return [len(sizes), sum(sizes)]


@contextmanager
def new_folder(path: Path, drafts: Path) -> Iterator[Path]:
    """Give an empty folder below `drafts`; it becomes `path` at the end, replacing an older one.

    An exception leaves nothing. `drafts` must be on the same file system as `path`.
    """
    draft = drafts / f"{os.getpid()}"
    old = drafts / f"{os.getpid()}.old"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # of an attempt that was killed before it was recorded
            os.rename(path, old)
        os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

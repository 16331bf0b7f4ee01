"""The folder of a job's records, which several array jobs share from their beginnings to their
ends."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsup_motion.files.folders import make_folders, remove_empty

_LOCK = "lock"
_TRIES = 10


@contextmanager
def occupied(state: Path) -> Iterator[int]:
    """Make the folder of a job's records and work in it; gives the file descriptor of its lock.

    If the block ends with an exception before any unit is recorded, the folder is removed, with
    those above it that are empty: the job can be begun with other settings. Not if it was there
    before, or if another process works in it.

    Raises:
        OSError: the folder cannot be made.
    """
    made, lock = _enter(state)
    try:
        yield lock
    except BaseException:
        if state in made and _is_alone(lock) and not any(_sizes(state)):
            shutil.rmtree(state, ignore_errors=True)
            remove_empty(made[:-1])
        raise
    finally:
        os.close(lock)


def _enter(state: Path) -> tuple[list[Path], int]:
    for _ in range(_TRIES):
        try:
            made = make_folders(state)
            lock = os.open(state / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # who made the folder has just removed it
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        if _is_same_file(lock, state / _LOCK):
            return made, lock
        os.close(lock)  # removed before it was locked
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(state))


def _is_same_file(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _is_alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sizes(state: Path) -> Iterator[int]:
    """Of the journals."""
    for file in state.glob("*.jsonl"):
        yield file.stat().st_size

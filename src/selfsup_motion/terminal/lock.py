"""A run folder belongs to one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

from selfsup_motion.errors import UserError

LOCK = ".lock"
"""Name of the file in a folder that its lock is on."""

_HELD = (errno.EACCES, errno.EAGAIN)


class FolderLock:
    """Claims a folder for this process, until `release` or its end, however it ends.

    A record lock on `<folder>/.lock`: forked workers do not inherit it, so that those of a killed
    process cannot keep it; it holds across machines where the file system has locks, and is no
    hindrance where it has none.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def claim(self, folder: Path, doing: str = "training") -> None:
        """Claim a folder.

        Args:
            folder: which exists.
            doing: what this process does there, for the others.

        Raises:
            UserError: another process has it.
            OSError: the folder cannot be written, or is gone.
        """
        if fcntl is None:
            return
        path = folder / LOCK
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                told = os.read(file, 200).decode(errors="replace").strip()
                os.close(file)
                if error.errno not in _HELD:
                    return
                raise UserError(
                    f"paths.output_dir={folder}: {told or 'another process is working'} there; "
                    "wait until it has ended, or choose another folder."
                ) from error
            if _is_same_file(file, path):
                break
            os.close(file)  # its holder has removed it before it let go: not a lock any more
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()} is {doing}\n".encode())
        self._file = file

    def release(self) -> None:
        """Give the folder back."""
        if self._file is not None:
            os.close(self._file)
        self._file = None


def is_held(folder: Path) -> bool | None:
    """Whether another process has a folder.

    Not to be asked of a folder that this process has claimed: looking would give its lock back.

    Returns:
        None if that cannot be told: the folder has no file for locks, or the system no locks.
    """
    if fcntl is None:
        return None
    try:
        file = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in _HELD else None
    finally:
        with contextlib.suppress(OSError):
            os.close(file)
    return False


def _is_same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False

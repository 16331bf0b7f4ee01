"""A run folder belongs to one training at a time."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

from selfsup_motion.errors import UserError

_HELD = (errno.EACCES, errno.EAGAIN)


class FolderLock:
    """Claims a folder for this process, until `release` or its end, however it ends.

    A record lock on `<folder>/.lock`: forked workers do not inherit it, so that those of a killed
    process cannot keep it; it holds across machines where the file system has locks, and is no
    hindrance where it has none.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def claim(self, folder: Path) -> None:
        """Claim a folder.

        Raises:
            UserError: another process has it.
            OSError: the folder cannot be written.
        """
        if fcntl is None:
            return
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            if error.errno not in _HELD:
                return
            raise UserError(
                f"paths.output_dir={folder}: {holder} is training there; wait until it has ended, "
                "or choose another folder."
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Give the folder back."""
        if self._file is not None:
            os.close(self._file)
        self._file = None

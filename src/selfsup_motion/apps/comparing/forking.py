"""Commands as forks of a process that has already imported what they need.

Importing PyTorch and Lightning takes 5 to 13 CPU-seconds, more than many cells of a study compute.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_IMPORTED = ["torch", "torch._dynamo", "torchvision", "pytorch_lightning", "kornia", "cv2",
             "selfsup_motion.training.run"]  # fmt: skip
"""What every cell needs, imported once. None of it computes, starts threads or opens a GPU."""

_POLL = 0.05
"""Seconds between looks at whether a command has ended."""


class Forks:
    """Starts `python -m …` commands as forks of one process.

    Args:
        threads: of each command, if OMP_NUM_THREADS does not say.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_IMPORTED)
        # multiprocessing looks at all of its children when it starts one
        self._lock = threading.Lock()

    def start(self, command: Sequence[str], log: Path) -> Fork:
        """Start `[python, -m, module, …]`, which appends what it prints to `log`."""
        with self._lock:
            # OpenMP reads it once, when the process that is forked imports PyTorch
            os.environ.setdefault("OMP_NUM_THREADS", str(self._threads))
            process = self._context.Process(target=_run, args=(list(command[2:]), str(log)))
            process.start()
        return Fork(process, self._lock)


class Fork:
    """A command that was started."""

    def __init__(
        self, process: multiprocessing.context.ForkServerProcess, lock: threading.Lock
    ) -> None:
        self._process, self._lock = process, lock

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, see `launching.Running`."""
        began = time.monotonic()
        while (status := self._status()) is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired(self._process.name, timeout)
            time.sleep(_POLL)
        return status

    def end(self) -> None:
        """Ask it to save and to end."""
        with self._lock:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        with self._lock:
            self._process.kill()

    def _status(self) -> int | None:
        with self._lock:
            return self._process.exitcode


def _run(arguments: list[str], log: str) -> None:
    """What `python -m` does, in a session of its own: Ctrl-C reaches `compare` alone."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for output in (1, 2):
        os.dup2(stream, output)
    os.close(stream)
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)

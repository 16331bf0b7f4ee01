"""Processes that take units of work one by one, and may crash or hang without harm."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown

Record = dict[str, Any]
"""What became of a unit, as plain data; {"reason": ..., "message": ...} if nothing good."""

_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_LOOK = 1.0  # seconds between two looks at the clock, or for the parent


def run(
    process: Callable[[str], Record],
    units: Iterable[str],
    num_workers: int,
    time_limit: float,
    close: Sequence[int] = (),
) -> Iterator[tuple[str, Record]]:
    """Process units in parallel.

    Args:
        process: called in a worker with a unit; returns its record or raises.
        units: names of the units.
        num_workers: processes.
        time_limit: seconds that a unit may take before its worker is killed.
        close: file descriptors of this process that the workers must not keep open.

    Yields:
        (unit, record), as they are done. A unit that crashes its worker, or takes too long, is
        recorded as such, like any other that cannot be read.

    Raises:
        UserError: nothing can be written (disk full, no permission).
    """
    pending = iter(units)
    # forked workers start in milliseconds; they use nothing of this process but `process`
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = [_Worker(context, process, close) for _ in range(num_workers)]
    try:
        while True:
            for worker in workers:
                if worker.unit is None and (unit := next(pending, None)) is not None:
                    worker.give(unit)
            busy = [worker for worker in workers if worker.unit is not None]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy], _LOOK)
            for worker in busy:
                unit = worker.unit
                assert unit is not None
                if worker.connection in ready:
                    record = worker.take()
                elif time.monotonic() - worker.since > time_limit:
                    worker.restart()
                    record = {
                        "reason": "too slow",
                        "message": f"{shown(unit)} takes more than {time_limit:g} seconds.",
                    }
                else:
                    continue
                if "fatal" in record:
                    raise UserError(record["fatal"])
                yield unit, record
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """One process and the unit that it has in hand."""

    def __init__(self, context: Any, process: Callable[[str], Record], close: Sequence[int]):
        self._start = (context, process, close)
        self.unit: str | None = None
        self.since = 0.0
        self._begin()

    def _begin(self) -> None:
        context, process, close = self._start
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self._child = context.Process(
            target=_serve, args=(theirs, process, close, os.getpid()), daemon=True
        )
        self._child.start()
        theirs.close()

    def give(self, unit: str) -> None:
        self.unit, self.since = unit, time.monotonic()
        self.connection.send(unit)

    def take(self) -> Record:
        """The record of the unit in hand; the process may have died over it."""
        unit, self.unit = self.unit, None
        assert unit is not None
        try:
            record: Record = self.connection.recv()
        except (EOFError, OSError):
            self._child.join()
            code = self._child.exitcode
            self.restart()
            message = f"{shown(unit)} crashes its reader (exit code {code})."
            return {"reason": "crash", "message": message}
        return record

    def restart(self) -> None:
        """Kill the process and begin another."""
        self.unit = None
        self.end()
        self._begin()

    def end(self) -> None:
        self._child.kill()
        self._child.join()
        self.connection.close()


def _serve(
    connection: Connection, process: Callable[[str], Record], close: Sequence[int], parent: int
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # may reach everyone: the parent ends us
        signal.signal(number, signal.SIG_IGN)
    for descriptor in close:
        os.close(descriptor)
    # 0, not 1: in a forked child, 1 makes OpenCV join the parent's pool threads, which hangs
    cv2.setNumThreads(0)
    while True:
        while not connection.poll(_LOOK):
            if os.getppid() != parent:  # killed: nobody will take our results
                return
        try:
            unit = connection.recv()
            connection.send(_attempt(process, unit))
        except (EOFError, BrokenPipeError):
            return


def _attempt(process: Callable[[str], Record], unit: str) -> Record:
    try:
        return process(unit)
    except MemoryError:
        return {"reason": "too large", "message": f"{shown(unit)} takes more memory than there is."}
    except OSError as error:
        if error.errno in _FATAL:
            return {"fatal": f"{error.filename or unit}: {error.strerror}."}
        return {"reason": "system", "message": f"{shown(unit)}: {error}."}
    except UserError as error:
        return {"fatal": str(error)}
    except Exception as error:  # one strange file must not end the work on half a million others
        return {
            "reason": "unexpected",
            "message": f"{shown(unit)}: {type(error).__name__}: {error}",
        }

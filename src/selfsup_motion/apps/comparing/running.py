"""Running the cells of a study as processes; what is finished is not run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsup_motion.apps.comparing.cells import Cell
from selfsup_motion.apps.comparing.launching import GRACE, Running, starter
from selfsup_motion.apps.run_list import goes_on, read_run
from selfsup_motion.files.atomic import write_text
from selfsup_motion.settings.arguments import as_text
from selfsup_motion.weights.run_folders import checkpoint_in

Told = Callable[[str], None]

_FAILED = "failed.json"
_LOGS = "logs"


@dataclass
class Outcome:
    """What became of the cells.

    Attributes:
        finished: that were run now.
        before: that had been finished already.
        failed: name to a sentence; also those of earlier calls that were not tried again.
        left: names of those that could not begin, since what they follow failed.
    """

    finished: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


class Runner:
    """Runs cells below a folder.

    Args:
        folder: of the study.
        jobs: cells at a time.
        retry: whether cells that failed are tried again.
        tell: takes a line for each cell.
        launcher: Hydra's config of what starts them; none: they are processes of this machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        jobs: int,
        retry: bool,
        tell: Told,
        launcher: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.jobs, self.retry, self.tell = folder, jobs, retry, tell
        self.outcome = Outcome()
        self._start = starter(folder, launcher or {}, jobs)
        self._running: set[Running] = set()
        self._lock = threading.Lock()
        self._ended = False
        self._known = _read_failures(folder)

    def run(self, chains: Sequence[Sequence[Cell]]) -> Outcome:
        """Run what is not finished. The first mistake ends no other cell.

        If the caller is interrupted (Ctrl-C, SIGTERM), the cells that run are asked to save and to
        end; the same call goes on with them.
        """
        pool = ThreadPoolExecutor(self.jobs)
        try:
            waiting = {pool.submit(self._chain, chain) for chain in chains}
            while waiting:  # in short steps, so that signals are heard
                done, waiting = wait(waiting, timeout=0.2)
                for one in done:
                    one.result()
        except BaseException:
            self._end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return self.outcome

    def _chain(self, chain: Sequence[Cell]) -> None:
        for index, cell in enumerate(chain):
            self._await_other(cell)
            if self._ended:
                return
            if is_finished(cell):
                self.outcome.before.append(cell.name)
                self._forget(cell)
            elif (reason := self._known.get(cell.folder.name)) and not self.retry:
                self.outcome.failed[cell.name] = reason
                self.tell(f"{cell.name}: failed before ({reason}) retry=true tries it again.")
            else:
                self._cell(cell)
            if cell.verb == "train" and not is_finished(cell):
                self.outcome.left += [later.name for later in chain[index + 1 :]]
                return

    def _cell(self, cell: Cell) -> None:
        log = self.folder / _LOGS / f"{cell.folder.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = log.stat().st_size if log.exists() else 0
        with self._lock:
            if self._ended:
                return
            process = self._start(command_of(cell), log)
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        if self._ended:
            return
        if status == 0 and is_finished(cell):
            self.outcome.finished.append(cell.name)
            self._forget(cell)
            self.tell(f"{cell.name}: finished")
            return
        reason = _reason(status, log, begun)
        self.outcome.failed[cell.name] = reason
        with self._lock:
            self._known[cell.folder.name] = reason
            _write_failures(self.folder, self._known)
        self.tell(f"{cell.name}: failed: {reason} See {log}")

    def _await_other(self, cell: Cell) -> None:
        """A cell may still run that an earlier call has started, before it was killed."""
        if goes_on(cell.folder):
            self.tell(f"{cell.name}: runs already, waiting for it")
        while goes_on(cell.folder) and not self._ended:
            time.sleep(1)

    def _forget(self, cell: Cell) -> None:
        with self._lock:
            if self._known.pop(cell.folder.name, None) is not None:
                _write_failures(self.folder, self._known)

    def _end(self) -> None:
        """Ask the cells that run to save."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            process.end()
        for process in running:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def is_finished(cell: Cell) -> bool:
    """Whether a cell's run folder holds its result."""
    return cell.folder.is_dir() and read_run(cell.folder, cell.name).state == "finished"


def command_of(cell: Cell) -> list[str]:
    """The command that runs a cell or continues it."""
    place = as_text("paths.output_dir", str(cell.folder))
    again: list[str] = []
    if cell.verb == "train":
        again = ["resume=auto"]  # of this folder: nothing, an unfinished run, one without steps
    elif checkpoint_in(cell.folder) is not None:
        again = [as_text("resume", str(cell.folder))]  # a task that trains
    elif (cell.folder / "config.yaml").exists():
        again = [as_text("resume", str(cell.folder))]
    module = f"selfsup_motion.{cell.verb}"
    return [sys.executable, "-m", module, *cell.overrides, place, *again]


def _reason(status: int, log: Path, begun: int) -> str:
    """Why a cell failed, as a sentence."""
    if status == -signal.SIGKILL:
        return "killed by the system, most probably for want of memory; use fewer jobs."
    if status < 0:
        return f"ended by signal {-status}."
    with log.open("rb") as stream:
        stream.seek(begun)
        lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), f"exit status {status}")
    if "out of memory" in last.lower() or last.startswith("MemoryError"):
        last = f"out of memory ({last})"
    return last if last.endswith((".", "!")) else f"{last}."


def _read_failures(folder: Path) -> dict[str, str]:
    try:
        loaded = json.loads((folder / _FAILED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in loaded.items()} if isinstance(loaded, dict) else {}


def _write_failures(folder: Path, known: Mapping[str, str]) -> None:
    write_text(folder / _FAILED, json.dumps(known, indent=2) + "\n")

"""Where cells run: as processes of this machine, or as jobs that submitit submits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from selfsup_motion.apps.comparing.forking import Forks
from selfsup_motion.errors import UserError

GRACE = 60.0
"""Seconds that a cell has to save, once it is asked to end."""

_LAUNCHERS = {"LocalLauncher": "local", "SlurmLauncher": "slurm"}
"""Classes of hydra-submitit-launcher, and what submitit calls them."""


class Running(Protocol):
    """A command that was started."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; of one that a signal ended, the negative number of that.

        Raises:
            subprocess.TimeoutExpired: it goes on after `timeout` seconds.
        """
        ...

    def end(self) -> None:
        """Ask it to save and to end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


Start = Callable[[Sequence[str], Path], Running]
"""Starts a command, which appends what it prints to a file."""


def starter(folder: Path, launcher: Mapping[str, Any], jobs: int) -> Start:
    """What starts cells, as Hydra's launcher says.

    Args:
        folder: of the study.
        launcher: Hydra's config of it, `hydra/launcher=…`.
        jobs: that run at a time.

    Raises:
        UserError: a launcher that only knows the settings of one command, or submitit is missing.
    """
    package, _, name = str(launcher.get("_target_", "BasicLauncher")).rpartition(".")
    if name == "BasicLauncher":
        return _processes(jobs)
    if "submitit" not in package or name not in _LAUNCHERS:
        raise UserError(
            f"hydra/launcher: {name} cannot run the cells of a study; leave it out (jobs=N runs N "
            "processes), or use submitit_local or submitit_slurm."
        )
    return _submitted(folder, _LAUNCHERS[name], launcher)


class _Process:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait(self, timeout: float | None = None) -> int:
        return self._process.wait(timeout)

    def end(self) -> None:  # the process alone; its own helpers end with it
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()


def _processes(jobs: int) -> Start:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    if sys.platform == "linux":  # elsewhere, forks of what PyTorch links to are not safe
        return Forks(threads).start
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}

    def start(command: Sequence[str], log: Path) -> Running:
        with log.open("ab") as stream:
            return _Process(subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env=environment,
                start_new_session=True,
            ))  # fmt: skip

    return start


class _Job:
    """A job of submitit."""

    def __init__(self, job: Any, log: Path) -> None:
        self._job, self._log = job, log

    def wait(self, timeout: float | None = None) -> int:
        began = time.monotonic()
        while not self._job.done():
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired("job", timeout)
            time.sleep(0.5)
        try:
            return int(self._job.result())
        except Exception as error:  # of the queue, or of the machine that the job had
            told = [line.strip() for line in str(error).splitlines() if line.strip()]
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(
                    f"job {self._job.job_id}: {told[0] if told else type(error).__name__}\n"
                )
            return 1

    def end(self) -> None:
        if not self._job.done():
            self._job.cancel(check=False)

    kill = end  # the queue kills what does not end


def _submitted(folder: Path, cluster: str, launcher: Mapping[str, Any]) -> Start:
    import submitit

    # as hydra-submitit-launcher itself passes its settings on
    general = {"cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "stderr_to_stdout",
               "tasks_per_node", "timeout_min"}  # fmt: skip
    settings = {
        key if key in general else f"{cluster}_{key}": value
        for key, value in launcher.items()
        if key not in ("_target_", "submitit_folder", "max_num_timeout")
    }
    executor = submitit.AutoExecutor(folder=folder.resolve() / "submitit" / "%j", cluster=cluster)
    executor.update_parameters(**settings)

    def start(command: Sequence[str], log: Path) -> Running:
        return _Job(executor.submit(run_here, list(command), str(log.resolve())), log)

    return start


def run_here(command: Sequence[str], log: str) -> int:
    """Run a command where a job runs; a job that is ended asks it to save first."""
    with open(log, "ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait(GRACE)
        raise

"""Ctrl-C, SIGTERM and SLURM's warning end a run at the next step boundary, after saving it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from selfsup_motion.callbacks.checkpointing import Checkpoints, begin_with_validation
from selfsup_motion.terminal.command_line import Interrupted
from selfsup_motion.terminal.console import console
from selfsup_motion.training.processes import is_rank_zero

REQUEUE = signal.SIGUSR1
"""What SLURM is asked to send some time before it ends the job: `#SBATCH --signal=USR1@120`."""

# a loader's worker must not write to the channel on which its parent hears of signals
os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


@contextlib.contextmanager
def stoppable(within: float, unsaved_text: Callable[[], str]) -> Iterator[None]:
    """Outside the steps of training a signal raises `Interrupted` right away.

    Args:
        within: seconds after a signal in which the process is gone, however its main thread is
            held up: by a file that cannot be read, or a rank that does not answer.
        unsaved_text: what it tells if it has to go unsaved.
    """
    before = {number: signal.signal(number, _interrupt) for number in _signals()}
    deadline = _Deadline(within, unsaved_text)
    deadline.start()
    try:
        yield
    finally:
        deadline.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def requeue() -> str:
    """Ask SLURM to start this job again; returns what to tell."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["scontrol", "requeue", job]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        return f"SLURM did not requeue job {job} ({reason}): submit it again."
    return f"SLURM will start job {job} again."


class _Deadline(threading.Thread):
    """Ends the process some time after a signal."""

    def __init__(self, seconds: float, unsaved_text: Callable[[], str]) -> None:
        super().__init__(daemon=True, name="deadline")
        self._seconds = seconds
        self._unsaved_text = unsaved_text
        self._over = threading.Event()
        # Python's own handlers run in the main thread, between two of its instructions: never, if
        # that waits for a file or a collective operation. The channel is written to at once.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._numbers = set(map(int, _signals()))

    def run(self) -> None:
        while (number := self._reader.recv(1)) and number[0] not in self._numbers:
            pass
        if number and not self._over.wait(self._seconds):
            try:
                if words := self._unsaved_text():
                    print(words, file=sys.stderr, flush=True)
            finally:  # it ends even if there is nobody to tell, or nothing to be found out
                os._exit(128 + number[0])

    def cancel(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._over.set()
        self._writer.close()


class StopOnSignal(pl.Callback):
    """Saves `last.ckpt` after the step under way, then raises `Interrupted`.

    A second signal leaves at once.
    """

    def __init__(self) -> None:
        self._signum = 0
        self._stop = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over; Lightning's own handlers would leave without saving."""
        self._before = {number: signal.signal(number, self._receive) for number in _signals()}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Saves, but lets Lightning finish its book-keeping (log rows) of this step first."""
        # ranks may hear the signal at different steps, and saving is collective
        self._stop = trainer.strategy.reduce_boolean_decision(self._signum != 0, all=False)
        if self._stop:
            _save(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._leave()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves before a validation that is due."""
        if self._stop:
            self._leave_validation(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Leaves from the middle of a validation."""
        if trainer.strategy.reduce_boolean_decision(self._signum != 0, all=False):
            self._stop = True
            self._leave_validation(trainer)

    def _leave_validation(self, trainer: pl.Trainer) -> None:
        """Makes the resumed run begin with this validation, from its first batch."""
        begin_with_validation(trainer)
        _save(trainer)
        self._leave()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._signum:
            sys.stdout.write("\x1b[?25h" if console.is_terminal else "")  # show the cursor again
            sys.stdout.flush()
            os._exit(128 + signum)
        self._signum = signum
        if is_rank_zero():
            console.print("Stopping after this step; a second signal stops at once.", markup=False)

    def _leave(self) -> None:
        if self._stop:
            raise Interrupted(self._signum or signal.SIGTERM, saved=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _signals() -> tuple[signal.Signals, ...]:
    stopping = (signal.SIGINT, signal.SIGTERM)
    return (*stopping, REQUEUE) if "SLURM_JOB_ID" in os.environ else stopping


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def _save(trainer: pl.Trainer) -> None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, Checkpoints):
            callback.save_last(trainer)

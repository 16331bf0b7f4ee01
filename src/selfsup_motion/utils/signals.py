"""Ctrl-C and SIGTERM end a run at the next step boundary, after saving it."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from selfsup_motion.utils.checkpointing import Checkpoints
from selfsup_motion.utils.cli import Interrupted
from selfsup_motion.utils.console import console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Outside the steps of training a signal raises `Interrupted` right away."""
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Gives the signals back."""
        self._restore()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Saves, but lets Lightning finish its book-keeping (log rows) of this step first."""
        # ranks may hear the signal at different steps, and saving is collective
        self._stop = trainer.strategy.reduce_boolean_decision(self._signum != 0, all=False)
        if self._stop:
            _save(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Leaves."""
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
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        for name in ("ready", "started", "processed", "completed"):
            done = getattr(progress.current, name)
            setattr(progress.total, name, getattr(progress.total, name) - done)
            setattr(progress.current, name, 0)
        # this is how Lightning recognises an unfinished one
        progress.increment_ready()
        progress.increment_started()
        _save(trainer)
        self._leave()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._signum:
            sys.stdout.write("\x1b[?25h" if console.is_terminal else "")  # show the cursor again
            sys.stdout.flush()
            os._exit(128 + signum)
        self._signum = signum
        console.print("Stopping after this step; once more leaves at once.", markup=False)

    def _leave(self) -> None:
        if self._stop:
            raise Interrupted(self._signum or signal.SIGTERM, saved=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def _save(trainer: pl.Trainer) -> None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, Checkpoints):
            callback.save_last(trainer)

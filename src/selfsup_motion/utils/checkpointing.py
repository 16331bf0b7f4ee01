"""Writes `checkpoints/last.ckpt` and `checkpoints/best.ckpt`, whole or not at all."""

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from selfsup_motion.checkpoints import KEY
from selfsup_motion.errors import UserError


class Checkpoints(Checkpoint):
    """Exactly two files: the latest state and the best one so far.

    Args:
        every_n_train_steps: `last.ckpt` is written this often, and at the end.
        monitor: name of the validation metric that decides about `best.ckpt`.
        mode: whether less or more of it is better.
    """

    def __init__(
        self, every_n_train_steps: int, monitor: str, mode: Literal["min", "max"] = "min"
    ) -> None:
        if every_n_train_steps < 1:
            raise UserError(
                f"callbacks.checkpoint.every_n_train_steps={every_n_train_steps}: expected 1 or "
                "more."
            )
        self.every_n_train_steps = every_n_train_steps
        self.monitor = monitor
        self.mode = mode
        self.best_score: float | None = None
        self.best_step = -1
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes stock; a run that starts from a file of another folder finds its own best."""
        if not trainer.strategy.broadcast(best_path(trainer).exists()):
            self.best_score, self.best_step = None, -1
        self._last_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Corrects the step that is logged.

        Lightning forgets to count the step after which it validated off the interval, as it does
        at the end of a run, when that run is prolonged.
        """
        if pl_module.automatic_optimization:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Saves at the interval and at the last step, whose validation it also requests."""
        step = trainer.global_step
        if step == self._last_step:  # a batch of an unfinished gradient accumulation
            return
        final = trainer.max_steps > 0 and step >= trainer.max_steps
        if final:
            # makes Lightning validate here, on or off the interval
            trainer.should_stop = True
        if final or step % self.every_n_train_steps == 0:
            self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves `best.ckpt` if this is the best, and `last.ckpt` again if it is of this step."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        score = self._score(trainer)
        if trainer.strategy.broadcast(self._is_better(score)):
            self.best_score, self.best_step = score, trainer.global_step
            save(trainer, best_path(trainer))
        if self._last_step == trainer.global_step:
            # now with the best score and the validation marked as done
            self.save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves what an end by time or by epochs left unsaved."""
        if self._last_step != trainer.global_step:
            self.save_last(trainer)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt` now (collective: call it on every rank)."""
        self._last_step = trainer.global_step
        save(trainer, last_path(trainer))

    def state_dict(self) -> dict[str, Any]:
        """The best score so far, plain numbers."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on comparing with the best score so far."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def _score(self, trainer: pl.Trainer) -> float:
        if self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise UserError(f"monitor={self.monitor}: the method does not log it, it logs {names}.")
        return float(trainer.callback_metrics[self.monitor])

    def _is_better(self, score: float) -> bool:
        if math.isnan(score):
            return False
        if self.best_score is None:
            return True
        return score < self.best_score if self.mode == "min" else score > self.best_score


class Provenance(pl.Callback):
    """Adds to every checkpoint which run wrote it.

    Args:
        provenance: plain `version`, `experiment` and resolved `config`.
    """

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        self.provenance = dict(provenance)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the entry."""
        checkpoint[KEY] = self.provenance


def last_path(trainer: pl.Trainer) -> Path:
    """`checkpoints/last.ckpt` of the run folder."""
    return Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"


def best_path(trainer: pl.Trainer) -> Path:
    """`checkpoints/best.ckpt` of the run folder."""
    return Path(trainer.default_root_dir) / "checkpoints" / "best.ckpt"


def save(trainer: pl.Trainer, path: Path) -> None:
    """Write a checkpoint beside `path`, then put it in place: a crash never leaves half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror or error}).") from error

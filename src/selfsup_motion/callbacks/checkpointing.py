"""Writes `checkpoints/last.ckpt`, `best.ckpt` and periodic ones, whole or not at all."""

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from selfsup_motion.errors import UserError
from selfsup_motion.weights.contents import KEY


class Checkpoints(Checkpoint):
    """The latest state, the best one so far and, on request, some of earlier steps.

    A step is saved when all that it leads to is on disk, its row in metrics.csv and its validation,
    or when the file says that the validation is still to be done: a run that is killed at any time
    and resumed loses neither.

    Args:
        every_n_train_steps: `last.ckpt` is written this often, and at the end.
        monitor: name of the validation metric that decides about `best.ckpt`.
        mode: whether less or more of it is better.
        keep_every_n_steps: `step_<step>.ckpt` is written this often; None: never.
        keep: number of those that stay, the latest; None: all.
    """

    def __init__(
        self,
        every_n_train_steps: int,
        monitor: str,
        mode: Literal["min", "max"],
        keep_every_n_steps: int | None,
        keep: int | None,
    ) -> None:
        for name, value in (("keep_every_n_steps", keep_every_n_steps), ("keep", keep)):
            if value is not None and value < 1:
                raise UserError(
                    f"callbacks.checkpoint.{name}={value}: expected 1 or more, or null."
                )
        if every_n_train_steps < 1:
            raise UserError(
                f"callbacks.checkpoint.every_n_train_steps={every_n_train_steps}: expected 1 or "
                "more."
            )
        self.every_n_train_steps = every_n_train_steps
        self.monitor = monitor
        self.mode = mode
        self.keep_every_n_steps = keep_every_n_steps
        self.keep = keep
        self.best_score: float | None = None
        self.best_step = -1
        self._last_step = -1  # of `last.ckpt`
        self._due = self._keep_due = False  # to be saved, and kept

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes stock; a run that starts from a file of another folder finds its own best."""
        if not trainer.strategy.broadcast(best_path(trainer).exists()):
            self.best_score, self.best_step = None, -1
        self._last_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Saves the step before, if that is due, and corrects the step that is logged.

        Lightning forgets to count the step after which it validated off the interval, as it does
        at the end of a run, when that run is prolonged.
        """
        if self._due:  # not sooner: Lightning logs a step after all `on_train_batch_end`
            progress: Any = trainer.fit_loop.epoch_loop.batch_progress
            with _restored(progress):
                for counts in (progress.current, progress.total):
                    counts.ready = counts.processed  # the batch at hand is to be fetched again
                progress.is_last_batch = False
                self.save_last(trainer)
        if pl_module.automatic_optimization:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Notes what is to be saved: at the interval and at the last step, which it also lets be
        validated."""
        step = trainer.global_step
        if step == self._last_step:  # a batch of an unfinished gradient accumulation
            return
        if _is_final(trainer):
            # makes Lightning validate here, on or off the interval
            trainer.should_stop = True
        self._keep_due = self.keep_every_n_steps is not None and step % self.keep_every_n_steps == 0
        self._due = _is_final(trainer) or self._keep_due or step % self.every_n_train_steps == 0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves before a validation, which may be long; a run resumed there begins with it.

        Not at the last step, whose checkpoint says that nothing is left to be done.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        progress: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        # if `begin_with_validation` led here, its mark has done its work
        progress.total.ready = progress.total.started = progress.total.completed
        if self._due and not _is_final(trainer):
            with _restored(progress):
                begin_with_validation(trainer)
                self.save_last(trainer)
            self._due = True  # again, when it is done

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves `best.ckpt` if this is the best, and `last.ckpt` again if it is of this step."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        score = self._score(trainer)
        if trainer.strategy.broadcast(self._is_better(score)):
            self.best_score, self.best_step = score, trainer.global_step
            save(trainer, best_path(trainer))
        if self._due or self._last_step == trainer.global_step:
            # now with the best score and the validation marked as done
            self.save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves what an end by time or by epochs left unsaved."""
        if self._due or self._last_step != trainer.global_step:
            self.save_last(trainer)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt` now (collective: call it on every rank)."""
        self._last_step = trainer.global_step
        save(trainer, last_path(trainer))
        if self._keep_due and trainer.is_global_zero:
            self._keep_last(trainer)
        self._due = self._keep_due = False

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def _keep_last(self, trainer: pl.Trainer) -> None:
        last = last_path(trainer)
        kept = last.with_name(f"step_{trainer.global_step:08d}.ckpt")
        with _write_errors_named(kept):
            kept.unlink(missing_ok=True)
            try:
                # costs no space until `last.ckpt` is another one
                kept.hardlink_to(last)
            except OSError:
                replace(kept, lambda temporary: shutil.copyfile(last, temporary))
            steps = sorted(last.parent.glob("step_*.ckpt"))
            for file in steps[: -self.keep] if self.keep else []:
                file.unlink()

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
        checkpoint[KEY] = self.provenance


def begin_with_validation(trainer: pl.Trainer) -> None:
    """Make a run that resumes at what is saved now begin with the validation that is due.

    From its first batch: what it has done so far is forgotten.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    for name in ("ready", "started", "processed", "completed"):
        done = getattr(progress.current, name)
        setattr(progress.total, name, getattr(progress.total, name) - done)
        setattr(progress.current, name, 0)
    # this is how Lightning recognises an unfinished one
    progress.increment_ready()
    progress.increment_started()


@contextlib.contextmanager
def _restored(progress: Any) -> Iterator[None]:
    """What is changed about Lightning's counts inside the block is changed back behind it."""
    before = progress.state_dict()
    yield
    progress.load_state_dict(before)


def _is_final(trainer: pl.Trainer) -> bool:
    return 0 < trainer.max_steps <= trainer.global_step


def last_path(trainer: pl.Trainer) -> Path:
    """`checkpoints/last.ckpt` of the run folder."""
    return Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"


def best_path(trainer: pl.Trainer) -> Path:
    """`checkpoints/best.ckpt` of the run folder."""
    return Path(trainer.default_root_dir) / "checkpoints" / "best.ckpt"


def save(trainer: pl.Trainer, path: Path) -> None:
    """Write a checkpoint beside `path`, then put it in place: a crash never leaves half a file.

    Raises:
        UserError: it cannot be written; what was at `path` is still there.
    """
    with _write_errors_named(path):
        if trainer.is_global_zero:
            replace(path, trainer.save_checkpoint)
        else:
            trainer.save_checkpoint(path)  # its share of a collective; the first rank writes


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put what `write` writes to a temporary file in place of `path`, in one step.

    Raises:
        OSError: nothing is changed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _write_errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}).") from error

"""One bar for the whole run, in steps; without a terminal a line now and then."""

import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from selfsup_motion.callbacks.meter import Meter
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.terminal.console import console

_REFRESH = 0.5  # seconds; reading the loss waits for the device


class Progress(ProgressBar):
    """Steps done, loss, samples per second and the time left.

    Args:
        monitor: the validation metric that is shown first.
        seconds_between_lines: pause between the lines that replace the bar without a terminal.
    """

    def __init__(self, monitor: str, seconds_between_lines: float = 10.0) -> None:
        super().__init__()
        self.monitor = monitor
        self.seconds_between_lines = seconds_between_lines
        self._enabled = True
        self._bar: RichProgress | None = None
        self._started = self._shown = 0.0
        self._first_step = 0
        self._rate_from = (0, 0.0)
        self._rate = ""

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, **_: Any) -> None:
        console.print(*args, markup=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self._shown = time.monotonic()
        self._first_step = trainer.global_step
        if self._enabled and console.is_terminal:
            self._bar = RichProgress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[text]}"),
                console=console,
                transient=True,
            )
            total = max(trainer.estimated_stepping_batches, trainer.global_step)
            self._bar.add_task("", total=total, completed=trainer.global_step, text="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        now = time.monotonic()
        pause = _REFRESH if self._bar is not None else self.seconds_between_lines
        if not self._enabled or (now - self._shown < pause and self._shown != self._started):
            return
        self._shown = now
        self._update(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the metrics of a validation, which stay on the screen."""
        if not self._enabled or is_partial(trainer):
            return
        metrics = trainer.callback_metrics
        names = [name for name in metrics if name.startswith("val/") and name != self.monitor]
        names = [self.monitor, *names] if self.monitor in metrics else names
        if names:  # a few of them; metrics.csv has all
            text = "  ".join(f"{name} {float(metrics[name]):.4g}" for name in names[:3])
            when = "untrained" if trainer.sanity_checking else f"step {trainer.global_step}"
            console.print(f"{when}  {text}", markup=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _update(self, trainer: pl.Trainer) -> None:
        step, total = trainer.global_step, int(trainer.estimated_stepping_batches)
        done = step - self._first_step
        elapsed = time.monotonic() - self._started
        parts = []
        if "train/loss" in trainer.callback_metrics:
            parts.append(f"loss {float(trainer.callback_metrics['train/loss']):.4g}")
        parts.append(self._samples_per_second(trainer))
        if done > 0:
            left = timedelta(seconds=round(elapsed / done * (total - step)))
            parts.append(f"{left} left")
        text = "  ".join(part for part in parts if part)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, text=text)
        else:
            console.print(f"step {step}/{total}  {text}", markup=False)

    def _samples_per_second(self, trainer: pl.Trainer) -> str:
        """The rate since the last look, over time that was spent on training."""
        meter = next((c for c in trainer.callbacks if isinstance(c, Meter)), None)  # type: ignore[attr-defined]
        if meter is None:
            return ""
        samples, seconds = self._rate_from
        if meter.seconds > seconds:
            self._rate = f"{(meter.samples - samples) / (meter.seconds - seconds):.0f} samples/s"
            self._rate_from = (meter.samples, meter.seconds)
        return self._rate

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

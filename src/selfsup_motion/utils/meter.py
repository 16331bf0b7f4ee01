"""Counts samples and time while a run trains."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor


class Meter(pl.Callback):
    """Samples and seconds of training, without validation, figures and start-up.

    Attributes:
        samples: over all ranks, in this session.
        seconds: spent fetching batches and stepping.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = 0.0
        self._since: float | None = None

    @property
    def samples_per_second(self) -> float | None:
        """Mean rate over the session, None before the first step."""
        return self.samples / self.seconds if self.seconds > 0 else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock."""
        self._pause()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock again; the last of the callbacks, so that figures do not count."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Counts."""
        self.samples += batch_size(batch) * trainer.world_size
        self._pause()
        self._since = time.perf_counter()

    def _pause(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None


def batch_size(batch: Any) -> int:
    """Length of the first tensor found in a (nested) batch, 0 if there is none."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else 0
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        return next((n for n in map(batch_size, batch) if n), 0)
    return 0


def peak_memory_mb() -> float:
    """Most memory used so far: of the CUDA device if one was used, else of the largest process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(w).ru_maxrss for w in who) / 2**10

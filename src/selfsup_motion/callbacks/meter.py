"""Counts samples, time and trouble while a run trains."""

import time
from collections import Counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from selfsup_motion.data.module import ClipDataModule


class Meter(pl.Callback):
    """Samples and seconds of training, without validation, figures and start-up.

    Attributes:
        samples: over all ranks, in this session.
        seconds: spent fetching batches and stepping.
        peak_memory_mb: of the rank that took most, once training has ended.
        bad_files: (file, reason) of the unreadable ones that any rank has met, likewise.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = 0.0
        self.peak_memory_mb = 0.0
        self.bad_files: set[tuple[str, str]] = set()
        self._since: float | None = None

    @property
    def skipped_reasons(self) -> dict[str, int]:
        """Number of unreadable files by reason."""
        return dict(Counter(reason for _, reason in sorted(self.bad_files)))

    def data_wait_share(self, trainer: pl.Trainer) -> float | None:
        """Share of the seconds in which training waited for a batch; None if the data do not tell.

        Of the first rank, whose steps wait for those of the others.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ClipDataModule) or self.seconds <= 0:
            return None
        return float(min(data.wait_seconds / self.seconds, 1.0))

    @property
    def samples_per_second(self) -> float | None:
        """Mean rate over the session, None before the first step."""
        return self.samples / self.seconds if self.seconds > 0 else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock again; the last of the callbacks, so that figures do not count."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.samples += batch_size(batch) * trainer.world_size
        self._pause()
        self._since = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        own = (peak_memory_mb(), _bad_files(trainer))
        ranks: list[Any] = [own]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, own)
        self.peak_memory_mb = max(memory for memory, _ in ranks)
        self.bad_files = set().union(*(files for _, files in ranks))

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Takes stock, of this rank: the others may be gone."""
        self.peak_memory_mb, self.bad_files = peak_memory_mb(), _bad_files(trainer)

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


def _bad_files(trainer: pl.Trainer) -> set[tuple[str, str]]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, ClipDataModule):
        return set()
    return {(fault.file, fault.reason) for fault in data.bad_videos}


def peak_memory_mb() -> float:
    """Most memory used so far: of the CUDA device if one was used, else of the largest process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(w).ru_maxrss for w in who) / 2**10

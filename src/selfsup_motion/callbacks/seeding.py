"""Randomness as a function of the step, so that no generator's state has to be saved."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


class SeedEveryBatch(pl.Callback):
    """Seeds torch, NumPy and Python from (seed, batch number, rank) before every batch.

    A resumed run draws the numbers that the uninterrupted one would have drawn, and a validation
    draws the same numbers every time.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Seeds from the number of batches that the run has seen, over all its sessions."""
        batch = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        seed_all(self.seed, 0, batch, trainer.global_rank)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Seeds from the number of the batch within the validation."""
        seed_all(self.seed, 1 + dataloader_idx, batch_idx, trainer.global_rank)


def seed_all(*numbers: int) -> None:
    """Seed the generators of torch (all devices), NumPy and Python from non-negative integers."""
    a, b = np.random.SeedSequence(numbers).generate_state(2, np.uint64).tolist()
    torch.manual_seed(a >> 1)
    random.seed(b)
    np.random.seed(b & 0xFFFFFFFF)  # noqa: NPY002 - third-party code draws from the global generator

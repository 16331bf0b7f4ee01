"""A method and data small enough that a run costs little more than the imports."""

import errno
import itertools
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchmetrics import CatMetric, SumMetric

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError


def sample(index: int) -> dict[str, Tensor]:
    x = torch.randn(4, generator=torch.Generator().manual_seed(index))
    return {"x": x, "y": x.sum(dim=0, keepdim=True)}


class Noise(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return sample(index)


class EndlessNoise(IterableDataset[dict[str, Tensor]]):
    """Goes on where the trainer stands, as ClipDataModule does."""

    def __init__(self, data: "TinyData") -> None:
        self.data = data

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        trainer = self.data.trainer
        first = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        size = self.data.batch_size // trainer.accumulate_grad_batches
        for batch in itertools.count(first):
            start = 100 + batch * size + trainer.global_rank
            stop = 100 + (batch + 1) * size
            for index in range(start, stop, trainer.world_size):
                yield sample(index) | ({"key": str(index)} if self.data.keyed else {})


class TinyData(pl.LightningDataModule):
    def __init__(
        self,
        *,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        fail: bool = False,
        signal: bool = False,
        keyed: bool = False,
    ) -> None:
        super().__init__()
        self.keyed = keyed
        self.fail = fail
        self.signal = signal
        self.batch_size = batch_size
        self.skipped_files = 0

    def setup(self, stage: str) -> None:
        if self.fail:
            raise UserError("data.root: no readable video.")
        if self.signal:
            os.kill(os.getpid(), signal.SIGINT)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return DataLoader(EndlessNoise(self), self.batch_size // parts)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(Noise(), 4)


class SlowVideos(VideoFolder):
    """Videos of which `slow` is not read until the run has said that it takes long."""

    def __init__(self, slow: str, **options: Any) -> None:
        super().__init__(**options)
        self.slow = slow

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        if self.name(index).endswith(self.slow):
            log = Path("run/train.log")
            while not log.exists() or f"has been reading {self.name(index)}" not in log.read_text():
                time.sleep(0.05)
        return super().read(index, frame_indices)


class TinyView(View):
    """A number that tells clip and randomness."""

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        mean = torch.from_numpy(clip.frames.mean(axis=(2, 3), dtype=np.float32) / 255)
        return {"x": mean[0, :1].repeat(4) * rng.random(), "y": mean[1, :1]}


class TinyMethod(pl.LightningModule):
    """Regression with dropout, so that a run without exact seeding would not repeat.

    `interrupt_at`: sends this process a signal in that training step (0: never), or with
    `validation_signal` in the validation after it. `hang_at`: takes an hour for that step.
    `interrupt_rank`: which rank does so; None: all. `die_at`: that rank finds the disk full then.
    `nan_at`: its loss is not a number in these steps. `witness`: file that takes down the batch of
    every step.
    """

    def __init__(
        self,
        *,
        lr: float = 0.1,
        dropout: float = 0.5,
        interrupt_at: int = 0,
        hang_at: int = 0,
        interrupt_with: str = "SIGINT",
        validation_signal: bool = False,
        interrupt_rank: int | None = None,
        die_at: int = 0,
        nan_at: Sequence[int] = (),
        witness: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        self.lr = lr
        self.interrupt_at = interrupt_at
        self.hang_at = hang_at
        self.number = signal.Signals[interrupt_with]
        self.validation_signal = validation_signal
        self.interrupt_rank = interrupt_rank
        self.die_at = die_at
        self.nan_at = nan_at
        self.witness = witness
        self.sum = SumMetric()
        self.median = CatMetric()

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        step, mine = self.global_step + 1, self.interrupt_rank in (None, self.global_rank)
        if step == self.interrupt_at and mine and not self.validation_signal:
            os.kill(os.getpid(), self.number)
        if step == self.die_at and mine:
            raise OSError(errno.ENOSPC, "No space left on device", "run/disk")
        if self.global_step + 1 == self.hang_at:
            print("hanging", flush=True)
            time.sleep(3600)
        if self.witness is not None:
            with open(self.witness, "a") as stream:
                stream.write(f"{self.global_step} {batch['key']} {batch['x'].tolist()}\n")
        loss = nn.functional.mse_loss(self.encoder(batch["x"]), batch["y"])
        if step in self.nan_at and mine:
            loss = loss * float("nan")
        self.log("train/loss", loss)
        # reduced over all ranks, as no mean of means could be
        self.sum.update(batch["y"])
        self.median.update(batch["y"])
        self.log("train/sum", self.sum.compute())
        self.log("train/median", torch.as_tensor(self.median.compute()).median())
        self.sum.reset()
        self.median.reset()
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        if self.global_step == self.interrupt_at and self.validation_signal and batch_idx == 0:
            os.kill(os.getpid(), self.number)
        loss = nn.functional.mse_loss(self.encoder(batch["x"]), batch["y"])
        self.log("val/epe", loss, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)

    def figures(self, batch: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        return {"weights": np.full((8, 8, 3), int(batch["x"].shape[0]), np.uint8)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        return ["method", "EPE"], [["tiny", f"{metrics['val/epe']:.3f}"]]


class PlainMethod(pl.LightningModule):
    """Nothing but what Lightning itself asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.layer(batch["x"]), batch["y"])

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        self.log("val/error", nn.functional.mse_loss(self.layer(batch["x"]), batch["y"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

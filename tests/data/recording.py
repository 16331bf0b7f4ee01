"""A source that costs nothing, and a module that writes down what it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.view import View
from selfsup_motion.errors import ClipReadError


class CountingSource(Source):
    """Video i is called "i" and shows the grey level of the frame's number."""

    def __init__(self, num_videos: int, *, bad: Sequence[int] = (), num_frames: int = 50) -> None:
        self.num_videos = num_videos
        self.bad = frozenset(bad)
        self.num_frames = num_frames

    def __len__(self) -> int:
        return self.num_videos

    def info(self, index: int) -> VideoInfo:
        return VideoInfo(str(index), self.num_frames, 10.0, 4, 4)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        if index in self.bad:
            raise ClipReadError(f"{index}.mp4 is damaged.", file=f"{index}.mp4")
        frames = np.empty((len(frame_indices), 3, 4, 4), np.uint8)
        frames[:] = np.asarray(frame_indices, np.uint8)[:, None, None, None]
        return Clip(frames=frames, key=str(index))


class NoisyView(View):
    """Tells the clip and the randomness apart: frame number and a random number."""

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        return {
            "frame": torch.tensor(int(clip.frames[0, 0, 0, 0])),
            "noise": torch.tensor(rng.random()),
        }


class Recorder(pl.LightningModule):
    """Remembers every batch whose gradients reached the weights."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches: list[Any] = []
        self.pending: list[Any] = []
        self.val_keys: list[str] = []
        self.fail_at = fail_at
        self.seen = 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.seen += 1
        if self.seen == self.fail_at:
            raise KeyboardInterrupt
        self.pending.append(fingerprint(batch))
        return self.weight * batch["noise"].mean()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.batches += self.pending
        self.pending = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.val_keys += batch["key"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fingerprint(batch: dict[str, Any]) -> list[tuple[str, int, float]]:
    return list(zip(batch["key"], batch["frame"].tolist(), batch["noise"].tolist(), strict=True))


def make_datamodule(source: CountingSource, batch_size: int = 4, **kwargs: Any) -> ClipDataModule:
    sampler = kwargs.pop("sampler", None) or RandomClips(length=2)
    return ClipDataModule(
        source=source,
        val_source=kwargs.pop("val_source", None) or CountingSource(5),
        sampler=sampler,
        val_sampler=UniformClips(length=2),
        view=NoisyView(),
        val_view=NoisyView(),
        batch_size=batch_size,
        **kwargs,
    )

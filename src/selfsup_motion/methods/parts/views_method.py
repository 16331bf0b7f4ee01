"""What methods share that learn from several changed clips of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.agreement import Agreement
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.schedules import every_step
from selfsup_motion.models.encoder import declared, sees_clips
from selfsup_motion.models.pooling import clip_features, input_levels

Embed = Callable[[int], Tensor]
"""The (N, D) embedding of view i."""


class ViewsMethod(Method):
    """An encoder and a head that embed views of clips; a subclass says what is asked of them.

    A subclass gives `terms`, a loss for each question, and `term_count`, how many there are. With
    `sequential`, each question is embedded and differentiated before the next one, which takes the
    memory of one (published for ρ > 2); the gradients are the same but for the statistics of batch
    normalisation, which are then of one view at a time.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        head: nn.Module,
        changes: ClipChanges,
        sequential: bool,
        val_neighbours: int,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        """Assemble the shared parts.

        Args:
            encoder: of clips or images, see `models.encoder.Encoder`; what transfers. An encoder of
                images sees every frame, and its features are averaged.
            head: (N, encoder's channels) → (N, D).
            changes: of the clips, those of the view.
            sequential: see the class.
            val_neighbours: see `Agreement`.
            optimizer: makes an optimiser of parameter groups.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).
        """
        super().__init__()
        self.encoder, self.head = encoder, head
        self.changes, self.sequential = changes, sequential
        self.agreement = Agreement(val_neighbours)
        self.make_optimizer, self.make_schedule = optimizer, schedule
        clips = sees_clips(encoder)
        self.to(memory_format=torch.channels_last_3d if clips else torch.channels_last)
        for name, levels in zip(("mean", "std"), input_levels(encoder), strict=True):
            self.register_buffer(name, levels, persistent=False)

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """The losses, one after the other; their sum is learned from.

        Args:
            embed: embeds view i with the network that learns.
            views: (N, T, 3, S, S) in [0, 1] each.
            batch: as the view made it.
        """
        raise NotImplementedError

    def term_count(self, views: int) -> int:
        """How many losses there are of so many views."""
        raise NotImplementedError

    def learned(self, views: int) -> list[int]:
        """Which of so many views the network that learns embeds; by default all."""
        return list(range(views))

    def views(self, batch: dict[str, Any]) -> list[Tensor]:
        """The changed clips of a batch: (N, T, 3, S, S) float32 in [0, 1] each."""
        return list(self.changes.apply(batch["frames"], batch).unbind(1))

    def features(self, clips: Tensor, encoder: nn.Module | None = None) -> Tensor:
        """(N, T, 3, S, S) in [0, 1] → (N, C) float32, averaged over time and space."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return clip_features(encoder or self.encoder, clips, mean, std)

    def embed(self, clips: Tensor) -> Tensor:
        """(N, T, 3, S, S) in [0, 1] → (N, D)."""
        embedded: Tensor = self.head(self.features(clips))
        return embedded

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Answer all questions, together or one after the other."""
        views = self.views(batch)
        count = self.term_count(len(views))
        if not self.sequential:
            learned = self.learned(len(views))
            parts = self.embed(torch.cat([views[i] for i in learned])).chunk(len(learned))
            embedded = dict(zip(learned, parts, strict=True))
            terms = self.terms(embedded.__getitem__, views, batch)
            total = torch.stack(list(terms)).sum()
            self.log("train/loss", total / count, prog_bar=True, sync_dist=True)
            return total
        accumulated = self.trainer.accumulate_grad_batches
        if batch_idx % accumulated == 0:
            self.optimizers().zero_grad()  # type: ignore[union-attr]
        shown = torch.zeros((), device=self.device)
        terms = self.terms(lambda i: self.embed(views[i]), views, batch)
        for number, term in enumerate(terms, 1):
            shown = shown + term.detach()
            if number == count:
                break
            # DDP exchanges gradients in the backward pass of what a step returns: the sum of all
            scaled = self.trainer.precision_plugin.pre_backward(term / accumulated, self)
            scaled.backward()  # type: ignore[no-untyped-call]
        self.log("train/loss", shown / count, prog_bar=True, sync_dist=True)
        return term

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Keep what `training_step` has added up; it has begun with zero."""
        if not self.sequential:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare features of the views of videos."""
        views = self.views(batch)
        features = torch.unflatten(self.features(torch.cat(views)), 0, (len(views), -1))
        self.agreement.update(features.transpose(0, 1), batch.get("action"))

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks."""
        self.agreement.log(self)

    def configure_optimizers(self) -> Any:
        return every_step(self.make_optimizer(decayed(self)), self.make_schedule, self.trainer)

    @property
    def progress(self) -> float:
        """Share of the run that is done before this step; 0 if its length is not known."""
        total = self.trainer.estimated_stepping_batches
        return self.trainer.global_step / total if 0 < total < float("inf") else 0.0

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw the first, middle and last frame of the views of up to six clips, a row each."""
        few = {name: x[:6] for name, x in batch.items() if isinstance(x, Tensor)}
        rows = []
        for clips in zip(*self.views(few), strict=True):
            times = [0, len(clips[0]) // 2, len(clips[0]) - 1] if len(clips[0]) > 1 else [0]
            frames = [clip[t] for clip in clips for t in times]
            row = torch.cat([f.permute(1, 2, 0) for f in frames], 1)
            rows.append((row * 255).round().byte().cpu().numpy())
        return {"views": np.concatenate(rows)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate what neighbours have in common, before and after."""
        if "val/retrieval" not in metrics:
            return super().report(metrics)
        return self.agreement.table(metrics, f"{type(self).__name__} network")


def check_temperature(value: float) -> None:
    """Raises `UserError` unless it is positive."""
    if not value > 0:
        raise UserError(f"method.temperature={value}: expected a number above 0.")


def channels_of(encoder: nn.Module) -> int:
    """Channels of the encoder's output; raises `UserError` if it does not say."""
    return int(declared(encoder, "out_channels"))

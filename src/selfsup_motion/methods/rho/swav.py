"""ρSwAV: the prototype of one clip is predicted from another clip of the video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.contrast import swapped_prediction
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.methods.parts.views_method import (
    Embed,
    ViewsMethod,
    channels_of,
    check_temperature,
)


class RhoSwAV(ViewsMethod):
    """Codes of neighbouring clips of a video, which predict each other.

    Batches come from `RhoView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        changes: ClipChanges,
        temperature: float = 0.1,
        prototypes: int = 1000,
        epsilon: float = 0.05,
        iterations: int = 3,
        frozen_steps: int = 0,
        dim: int = 128,
        hidden: int = 2048,
        layers: int = 3,
        norm: bool = True,
        sequential: bool = False,
        val_neighbours: int = 10,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: see `ViewsMethod`.
            changes: of the clips, those of the view.
            temperature: of the predictions.
            prototypes: how many.
            epsilon: sharpness of the codes, see `sinkhorn`.
            iterations: see `sinkhorn`.
            frozen_steps: prototypes do not learn during the first steps (published: those of the
                first two passes over the data).
            dim: of the embeddings.
            hidden: channels between the layers of the head.
            layers: of the head.
            norm: batch normalisation in the head.
            sequential: see `ViewsMethod`.
            val_neighbours: see `Agreement`.
            optimizer: makes an optimiser of parameter groups.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range.
        """
        check_temperature(temperature)
        for name, value, least in (
            ("prototypes", prototypes, 2),
            ("iterations", iterations, 1),
            ("frozen_steps", frozen_steps, 0),
        ):
            if value < least:
                raise UserError(f"method.{name} must be at least {least}, got {value}.")
        if not epsilon > 0:
            raise UserError(f"method.epsilon={epsilon}: expected a number above 0.")
        super().__init__(
            encoder=encoder,
            head=mlp(channels_of(encoder), hidden, dim, layers=layers, norm=norm),
            changes=changes,
            sequential=sequential,
            val_neighbours=val_neighbours,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.temperature, self.epsilon = temperature, epsilon
        self.iterations, self.frozen_steps = iterations, frozen_steps
        self.prototypes = nn.Linear(dim, prototypes, bias=False)

    def embed(self, clips: Tensor) -> Tensor:
        """(N, T, 3, S, S) in [0, 1] → (N, prototypes) cosines."""
        embedded = F.normalize(super().embed(clips).float(), dim=1)
        with torch.autocast(embedded.device.type, enabled=False):
            return F.linear(embedded, self.prototypes.weight)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Give prototypes the length 1."""
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """One of each pair of neighbouring views (published in this form)."""
        for i in range(len(views) - 1):
            yield swapped_prediction(
                embed(i),
                embed(i + 1),
                temperature=self.temperature,
                epsilon=self.epsilon,
                iterations=self.iterations,
            )

    def term_count(self, views: int) -> int:
        """A pair fewer than views."""
        return views - 1

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave prototypes as they are during the first steps."""
        if self.trainer.global_step < self.frozen_steps:
            self.prototypes.weight.grad = None

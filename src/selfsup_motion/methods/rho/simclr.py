"""ρSimCLR: clips of one video are found among those of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.contrast import nt_xent
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.methods.parts.views_method import (
    Embed,
    ViewsMethod,
    channels_of,
    check_temperature,
)


class RhoSimCLR(ViewsMethod):
    """Neighbouring clips of a video against all other clips of the batch, on all devices.

    Batches come from `RhoView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        changes: ClipChanges,
        temperature: float = 0.1,
        dim: int = 128,
        hidden: int = 2048,
        layers: int = 3,
        norm: bool = False,
        sequential: bool = False,
        val_neighbours: int = 10,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: see `ViewsMethod`.
            changes: of the clips, those of the view.
            temperature: of the cosine similarities.
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
        super().__init__(
            encoder=encoder,
            head=mlp(channels_of(encoder), hidden, dim, layers=layers, norm=norm),
            changes=changes,
            sequential=sequential,
            val_neighbours=val_neighbours,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.temperature = temperature

    def embed(self, clips: Tensor) -> Tensor:
        """(N, T, 3, S, S) in [0, 1] → (N, D) unit vectors."""
        return F.normalize(super().embed(clips).float(), dim=1)

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """One of each pair of neighbouring views (published in this form)."""
        for i in range(len(views) - 1):
            yield nt_xent(embed(i), embed(i + 1), self.temperature)

    def term_count(self, views: int) -> int:
        """A pair fewer than views."""
        return views - 1

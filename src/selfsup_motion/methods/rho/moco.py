"""ρMoCo: clips of one video are found among those of earlier videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.contrast import info_nce
from selfsup_motion.methods.parts.gathering import gather_in_order
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.momentum_method import MomentumMethod
from selfsup_motion.methods.parts.queue import KeyQueue
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.methods.parts.views_method import Embed, channels_of, check_temperature


class RhoMoCo(MomentumMethod):
    """Every clip must find the other clips of its video among a queue of others.

    Keys are embedded by a slow copy of the network. Batches come from `RhoView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        changes: ClipChanges,
        temperature: float = 0.1,
        queue: int = 65536,
        momentum: float = 0.994,
        momentum_rises: bool = True,
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
            queue: keys of earlier steps that are compared with, of all devices.
            momentum: of the slow copy, at the beginning.
            momentum_rises: to 1 at the end of the run.
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
        self.follow_slowly(momentum, rises=momentum_rises)
        self.queue = KeyQueue(queue, dim)
        self._ddp_params_and_buffers_to_ignore = self.queue.names("queue")
        self._new: Tensor | None = None

    def embed(self, clips: Tensor) -> Tensor:
        """(N, T, 3, S, S) in [0, 1] → (N, D) unit vectors."""
        return F.normalize(super().embed(clips).float(), dim=1)

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """One of each view: the mean over the other ones."""
        self._new = keys = self.keys(views)
        for i in range(len(views)):
            others = torch.cat([keys[:i], keys[i + 1 :]])
            yield info_nce(embed(i), others, self.queue.keys, self.temperature)

    def term_count(self, views: int) -> int:
        """As many as views."""
        return views

    def on_after_backward(self) -> None:
        """Put the keys of all views, sample by sample, into the queue."""
        if self._new is not None:
            self.queue.add(gather_in_order(self._new.transpose(0, 1).contiguous()).flatten(0, 1))
            self._new = None

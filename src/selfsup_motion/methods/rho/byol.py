"""ρBYOL: the embedding of every clip of a video is predicted from each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.contrast import cosine_loss
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.momentum_method import MomentumMethod
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.methods.parts.views_method import Embed, channels_of, check_temperature


class RhoBYOL(MomentumMethod):
    """A predictor must reach the embeddings that a slow copy gives the video's other clips.

    Batches come from `RhoView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        changes: ClipChanges,
        temperature: float = 0.5,
        momentum: float = 0.996,
        momentum_rises: bool = True,
        dim: int = 256,
        hidden: int = 4096,
        layers: int = 2,
        predictor_layers: int = 2,
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
            temperature: that the cosines are divided by.
            momentum: of the slow copy, at the beginning.
            momentum_rises: to 1 at the end of the run.
            dim: of the embeddings.
            hidden: channels between the layers of head and predictor.
            layers: of the head.
            predictor_layers: of the predictor.
            norm: batch normalisation in head and predictor.
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
        self.predictor = mlp(dim, hidden, dim, layers=predictor_layers, norm=norm)
        self.follow_slowly(momentum, rises=momentum_rises)

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """One of each view: the mean over the other ones."""
        keys = self.keys(views)
        for i in range(len(views)):
            others = torch.cat([keys[:i], keys[i + 1 :]])
            yield cosine_loss(self.predictor(embed(i)), others, self.temperature)

    def term_count(self, views: int) -> int:
        """As many as views."""
        return views

"""DSM: enhancing unsupervised video representation learning by decoupling the scene and the motion
(Wang et al., AAAI 2021).

A clip whose scene is disturbed must be found by its motion; a clip of the same video at another
time has the scene but not the motion, and must be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from selfsup_motion.errors import UserError
from selfsup_motion.methods.dsm.warp import warped
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.contrast import info_nce
from selfsup_motion.methods.parts.gathering import gather_in_order
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.momentum_method import MomentumMethod
from selfsup_motion.methods.parts.queue import KeyQueue
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.methods.parts.views_method import Embed, channels_of, check_temperature


class DSM(MomentumMethod):
    """Scene-broken positives and motion-broken negatives.

    Batches come from `DSMView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        changes: ClipChanges,
        loss: Literal["contrast", "triplet"] = "contrast",
        temperature: float = 0.07,
        margin: float = 0.5,
        queue: int = 16384,
        momentum: float = 0.999,
        momentum_rises: bool = False,
        dim: int = 128,
        hidden: int = 512,
        layers: int = 1,
        norm: bool = False,
        val_neighbours: int = 10,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: see `ViewsMethod`.
            changes: of the clips, those of the view.
            loss: "contrast" finds the positive among a queue and the video's own negative;
                "triplet" only compares with the own negative and with another video's.
            temperature: of the cosine similarities (contrast).
            margin: by which the positive must be nearer (triplet).
            queue: keys of earlier steps that are compared with, of all devices (contrast).
            momentum: of the slow copy that embeds positives (contrast).
            momentum_rises: to 1 at the end of the run.
            dim: of the embeddings.
            hidden: channels between the layers of the head, if there are several.
            layers: of the head (published: one).
            norm: batch normalisation in the head.
            val_neighbours: see `Agreement`.
            optimizer: makes an optimiser of parameter groups.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range.
        """
        if loss not in ("contrast", "triplet"):
            raise UserError(f"method.loss={loss}: choose contrast or triplet.")
        check_temperature(temperature)
        if margin < 0:
            raise UserError(f"method.margin={margin}: expected 0 or more.")
        super().__init__(
            encoder=encoder,
            head=mlp(channels_of(encoder), hidden, dim, layers=layers, norm=norm),
            changes=changes,
            sequential=False,
            val_neighbours=val_neighbours,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.loss, self.temperature, self.margin = loss, temperature, margin
        self.queue: KeyQueue | None = None
        if loss == "contrast":
            self.follow_slowly(momentum, rises=momentum_rises)
            self.queue = KeyQueue(queue, dim)
            self._ddp_params_and_buffers_to_ignore = self.queue.names("queue")
        self._new: Tensor | None = None
        self.nearer = MeanMetric()

    def views(self, batch: dict[str, Any]) -> list[Tensor]:
        """The disturbed anchor, the positive and the negative: (N, T, 3, S, S) in [0, 1] each."""
        frames = batch["frames"]
        names = ("window", "angle", "aspect", "mirrored", "color", "blur")
        anchor, positive = self.changes.apply(
            frames[:, :1], {name: batch[name][:, :2] for name in names}
        ).unbind(1)
        negative = self.changes.apply(
            frames[:, 1:], {name: batch[name][:, 2:] for name in names}
        ).squeeze(1)
        return [warped(anchor, batch["warps"]), positive, negative]

    def embed(self, clips: Tensor) -> Tensor:
        """(N, T, 3, S, S) in [0, 1] → (N, D) unit vectors."""
        return F.normalize(super().embed(clips).float(), dim=1)

    def learned(self, views: int) -> list[int]:
        """The positive is embedded by the slow copy alone if there is one."""
        return [0, 2] if self.loss == "contrast" else [0, 1, 2]

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """The only loss."""
        query, negative = embed(0), embed(2)
        if self.queue is None:
            yield triplets(query, embed(1), negative, self.margin)
            return
        self._new = self.keys(views[1:2])
        yield info_nce(query, self._new, self.queue.keys, self.temperature, negative)

    def term_count(self, views: int) -> int:
        """A single one."""
        return 1

    def on_after_backward(self) -> None:
        """Put the positives' keys into the queue."""
        if self.queue is not None and self._new is not None:
            self.queue.add(gather_in_order(self._new[0]))
            self._new = None

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare features of anchor and positive, and of both with the negative."""
        views = self.views(batch)
        features = torch.unflatten(self.features(torch.cat(views)), 0, (3, -1))
        anchor, positive, negative = F.normalize(features, dim=2)
        nearer = (anchor * positive).sum(1) > (anchor * negative).sum(1)
        self.nearer.update(nearer.float())
        self.agreement.update(features[:2].transpose(0, 1), batch.get("action"))

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks."""
        self.log("val/motion_first", self.nearer.compute())
        self.nearer.reset()
        super().on_validation_epoch_end()


def triplets(query: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """The positive is nearer than the own negative, and than another video's, by a margin.

    Args:
        query: (N, D).
        positive: (N, D).
        negative: (N, D); the other video's is that of the sample as far from the batch's end as
            this one is from its beginning, over all devices.
        margin: of the distances.
    """
    query, positive, negative = (gather_in_order(x) for x in (query, positive, negative))
    own = F.triplet_margin_loss(query, positive, negative, margin=margin)
    return own + F.triplet_margin_loss(query, positive, negative.flip(0), margin=margin)

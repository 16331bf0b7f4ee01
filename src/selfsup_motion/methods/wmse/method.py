"""W-MSE: whitening for self-supervised representation learning (Ermolov et al., ICML 2021).

Views of a sample must have the same embedding. What keeps all embeddings from becoming the same is
that those of a set of samples are whitened before they are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.gathering import gather_in_order
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.methods.parts.views_method import Embed, ViewsMethod, channels_of
from selfsup_motion.methods.parts.whitening import pair_loss, whiten_sets

_RETRY = 1e-3
"""Share of the identity with which a singular covariance is tried once more."""


class WMSE(ViewsMethod):
    """Whitened embeddings of views of one image, or clips of one video, are pulled together.

    Samples of all devices are dealt into sets. Batches come from `WMSEView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        changes: ClipChanges,
        whitening: int = 128,
        epsilon: float = 0.0,
        normalise: bool = True,
        dim: int = 64,
        hidden: int = 1024,
        layers: int = 2,
        norm: bool = True,
        val_neighbours: int = 10,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: see `ViewsMethod`.
            changes: of the clips, those of the view.
            whitening: samples of a set; the batch, over all devices, is a multiple of it.
            epsilon: share of the identity that is mixed into the covariance.
            normalise: compare directions (2 − 2 cos), else squared distances.
            dim: of the embeddings; less than `whitening` (published: half of it).
            hidden: channels between the layers of the head.
            layers: of the head.
            norm: batch normalisation in the head.
            val_neighbours: see `Agreement`.
            optimizer: makes an optimiser of parameter groups.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range.
        """
        if whitening <= dim:
            raise UserError(
                f"method.whitening={whitening} samples do not span the method.dim={dim} dimensions "
                f"that are whitened: take at least {dim + 1}, better {2 * dim}."
            )
        if not 0 <= epsilon < 1:
            raise UserError(f"method.epsilon={epsilon}: expected a share from 0 to below 1.")
        super().__init__(
            encoder=encoder,
            head=mlp(channels_of(encoder), hidden, dim, layers=layers, norm=norm),
            changes=changes,
            sequential=False,
            val_neighbours=val_neighbours,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.whitening, self.epsilon, self.normalise = whitening, epsilon, normalise
        self.retries = 0

    def setup(self, stage: str) -> None:
        """Look at the size of the batches before anything is computed.

        Raises:
            UserError: they cannot be dealt into sets.
        """
        size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        if stage == "fit" and isinstance(size, int):
            self._check_batch(size // self.trainer.accumulate_grad_batches)

    def terms(self, embed: Embed, views: list[Tensor], batch: dict[str, Any]) -> Iterator[Tensor]:
        """The mean over pairs of views, and over the ways in which the batch is dealt.

        Raises:
            UserError: a batch that cannot be dealt into sets, or embeddings that have collapsed.
        """
        own = torch.stack([embed(i) for i in range(len(views))], 1)
        embedded = gather_in_order(own).transpose(0, 1)
        order = gather_in_order(batch["order"].contiguous())
        self._check_batch(len(order))
        losses = []
        for column in order.unbind(1):
            sets = column.argsort(stable=True).view(-1, self.whitening)
            losses.append(pair_loss(self._whitened(embedded, sets), normalise=self.normalise))
        yield torch.stack(losses).mean()

    def term_count(self, views: int) -> int:
        """A single one."""
        return 1

    def _check_batch(self, count: int) -> None:
        if count % self.whitening:
            raise UserError(
                f"A step compares {count} samples (data.batch_size, over all devices), which are "
                f"not sets of method.whitening={self.whitening}: choose a multiple."
            )

    def _whitened(self, embedded: Tensor, sets: Tensor) -> Tensor:
        """See `whiten_sets`; a singular covariance is tried once more and counted."""
        try:
            return whiten_sets(embedded, sets, self.epsilon)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            self.retries += 1
            self.log("train/cholesky_retries", float(self.retries))
        try:
            return whiten_sets(embedded, sets, max(self.epsilon, _RETRY))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise UserError(
                "The embeddings cannot be whitened: they have collapsed or are not finite. Lower "
                "method.optimizer.lr, or raise method.epsilon or method.whitening."
            ) from error

"""What MoCo, BYOL and DSM share: targets from a network that follows the one that learns."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.momentum import Momentum, rising_momentum
from selfsup_motion.methods.parts.views_method import ViewsMethod


class MomentumMethod(ViewsMethod):
    """A `ViewsMethod` with `target`, a moving average of its encoder and head.

    The average moves after each step of the optimiser.
    """

    target: Momentum | None

    def __init__(self, **options: Any) -> None:
        """As `ViewsMethod`; `follow_slowly` makes the target."""
        super().__init__(**options)
        self.target = None

    def follow_slowly(self, momentum: float, *, rises: bool) -> None:
        """Make the target; called at the end of the constructor.

        Args:
            momentum: share of the average that a step keeps.
            rises: along half a cosine to 1 at the end of the run.

        Raises:
            UserError: a momentum out of range.
        """
        if not 0 <= momentum <= 1:
            raise UserError(f"method.momentum={momentum}: expected a share from 0 to 1.")
        self.momentum, self.momentum_rises = momentum, rises
        self.target = Momentum(encoder=self.encoder, head=self.head)

    @torch.no_grad()
    def keys(self, views: list[Tensor]) -> Tensor:
        """(V, N, D) unit embeddings of all views by the target, one view at a time."""
        assert self.target is not None
        encoder = self.target.get_submodule("encoder")
        head = self.target.get_submodule("head")
        embedded = [head(self.features(view, encoder)).float() for view in views]
        return F.normalize(torch.stack(embedded), dim=2)

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Make a step, and move the target; a checkpoint of this step has both."""
        super().optimizer_step(*args, **options)
        if self.target is None:
            return
        momentum = self.momentum
        if self.momentum_rises:
            momentum = rising_momentum(momentum, self.progress)
        self.target.follow(momentum, encoder=self.encoder, head=self.head)

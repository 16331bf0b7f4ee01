"""What W-MSE sees: views of a clip or a still, and how samples are dealt into sets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.rho.view import RhoView


class WMSEView(RhoView):
    """As `RhoView`, and `order` float32 (iterations,) in [0, 1).

    Sorting a batch by one of these numbers deals its samples into the sets that are whitened. So
    the sets depend on the samples alone and are the same for any number of processes.
    """

    def __init__(
        self,
        *,
        changes: ClipChanges,
        clips: int = 2,
        repeats: int = 1,
        field: int = 256,
        iterations: int = 1,
    ) -> None:
        """Define the view.

        Args:
            changes: see `RhoView`.
            clips: see `RhoView`.
            repeats: see `RhoView`.
            field: see `RhoView`.
            iterations: how often a batch is dealt anew; the losses are averaged.

        Raises:
            UserError: a value out of range, or a single view.
        """
        super().__init__(changes=changes, clips=clips, repeats=repeats, field=field)
        if iterations < 1:
            raise UserError(f"view.iterations must be at least 1, got {iterations}.")
        self.iterations = iterations

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class."""
        sample = super().__call__(clip, rng)
        return {**sample, "order": torch.from_numpy(rng.random(self.iterations, dtype=np.float32))}

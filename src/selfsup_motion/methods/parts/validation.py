"""What a method needs to know of the validation that it is in."""

from __future__ import annotations

import math

import pytorch_lightning as pl


def is_partial(trainer: pl.Trainer) -> bool:
    """Whether only a few batches are looked at before training, to see whether it would work.

    Before training, `callbacks.untrained` makes a whole validation, which is not partial.
    """
    return trainer.sanity_checking and trainer.num_sanity_val_steps != math.inf

"""Dropping colour channels, so that colours have to be found by more than themselves (CorrFlow)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.errors import UserError
from selfsup_motion.ops.constants import constant_like


def draw_channel_gains(
    rng: np.random.Generator | np.random.RandomState, probability: float
) -> list[float]:
    """What the three channels of an image are multiplied by.

    Args:
        rng: of the sample.
        probability: of dropping one or two channels; the others grow by 3 / (3 - n).

    Returns:
        Three factors: 1 each, or 0 for the dropped ones and 1.5 or 3 for the others.
    """
    if rng.random() < 1 - probability:
        return [1.0, 1.0, 1.0]
    dropped = int(rng.choice([1, 2]))
    gains = np.full(3, 3 / (3 - dropped))
    gains[rng.choice(3, dropped, replace=False)] = 0
    return [float(gain) for gain in gains]


class ChannelDropout:
    """Channel dropout in the middle of training (Lai & Xie 2019, section 3.2).

    Args:
        probability: of dropping one or two of the three channels.
        per: what shares a draw: "batch" all clips of a batch (as published), "clip" all frames of a
            clip, "frame" nothing.
    """

    def __init__(
        self, probability: float = 0.7, per: Literal["batch", "clip", "frame"] = "batch"
    ) -> None:
        if not 0 <= probability <= 1:
            raise UserError(f"method.dropout.probability must be in [0, 1], got {probability}.")
        if per not in ("batch", "clip", "frame"):
            raise UserError(f"method.dropout.per must be batch, clip or frame, got {per!r}.")
        self.probability, self.per = probability, per

    def gains(self, seeds: Tensor, frames: int, batch_rng: np.random.Generator) -> Tensor:
        """Draw the factors of a batch.

        Args:
            seeds: (B,) int64, one of each clip.
            frames: T.
            batch_rng: the same on all devices that share the batch.

        Returns:
            (B, T, 3) float32 on the device of `seeds`.
        """
        if self.per == "batch":
            gains = [[draw_channel_gains(batch_rng, self.probability)] * frames] * len(seeds)
        else:
            draws = frames if self.per == "frame" else 1
            gains = []
            for seed in seeds.tolist():
                rng = np.random.default_rng(seed)
                own = [draw_channel_gains(rng, self.probability) for _ in range(draws)]
                gains.append(own * (frames // draws))
        return constant_like(gains, seeds, torch.float32)

"""Learning-rate schedules, counted in optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(
    optimizer: Optimizer, *, total_steps: int, warmup_steps: int = 0, final_factor: float = 0.0
) -> LambdaLR:
    """Rise linearly for `warmup_steps`, then fall along half a cosine to `final_factor`."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup_steps + 1))
        progress = max(0, step - warmup_steps) / max(1, total_steps - warmup_steps)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return rise * (final_factor + (1 - final_factor) * fall)

    return LambdaLR(optimizer, factor)


def milestones(
    optimizer: Optimizer,
    *,
    total_steps: int,
    at: Sequence[float],
    factor: float = 0.1,
    warmup_steps: int = 0,
) -> LambdaLR:
    """Multiply by `factor` at each milestone, a share of `total_steps` (CMP: 4/7 and 6/7)."""

    def scale(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup_steps + 1))
        passed = sum(step >= round(share * total_steps) for share in at)
        return rise * float(factor**passed)

    return LambdaLR(optimizer, scale)

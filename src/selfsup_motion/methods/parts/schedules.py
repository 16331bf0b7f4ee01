"""Learning-rate schedules, counted in optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from selfsup_motion.errors import UserError


def every_step(
    optimizer: Optimizer, make_schedule: Callable[..., LRScheduler], trainer: pl.Trainer
) -> dict[str, Any]:
    """What `configure_optimizers` returns for a rate that is set anew at every step.

    Args:
        optimizer: all there is.
        make_schedule: makes its schedule of (optimizer, total_steps=…).
        trainer: knows the number of steps.

    Raises:
        UserError: it has no limit of steps.
    """
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps):
        raise UserError(
            "The learning rate's schedule depends on the number of steps, and training data are "
            "endless: give the trainer max_steps."
        )
    schedule = make_schedule(optimizer, total_steps=int(steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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


def cosine_with_rise(
    optimizer: Optimizer, *, total_steps: int, rise: float, initial_factor: float
) -> LambdaLR:
    """Half a cosine over the whole run, reached along a line (MoSI).

    Args:
        optimizer: whose rates are set.
        total_steps: of the run.
        rise: share of the run in which the rate rises linearly from `initial_factor` times the base
            to where the cosine is by then.
        initial_factor: of the base rate.
    """

    def cosine_at(progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def factor(step: int) -> float:
        progress = step / max(1, total_steps)
        if progress >= rise:
            return cosine_at(progress)
        return initial_factor + (cosine_at(rise) - initial_factor) * progress / rise

    return LambdaLR(optimizer, factor)


def poly(optimizer: Optimizer, *, total_steps: int, power: float, final_factor: float) -> LambdaLR:
    """Fall as (1 - step / total_steps) ** power (DeepLab), but not below `final_factor`."""

    def factor(step: int) -> float:
        left = max(0.0, 1 - step / max(1, total_steps))
        return max(final_factor, float(left**power))

    return LambdaLR(optimizer, factor)


def milestones(
    optimizer: Optimizer,
    *,
    total_steps: int,
    at: Sequence[float],
    factors: Sequence[float],
    warmup: Sequence[tuple[float, float]] = (),
) -> LambdaLR:
    """Rates that fall in steps, after an optional warm-up along straight lines (CMP).

    Args:
        optimizer: its rate is what the others are multiples of.
        total_steps: of the run.
        at: when the rate changes, as shares of `total_steps` (CMP: 4/7 and 6/7).
        factors: what it is multiplied by at each of them (CMP: 0.1 and 0.1).
        warmup: (step, multiple of the optimiser's rate) that the rate passes through, on straight
            lines from (0, 1); it stays at the last one. `[[0, 0.01], [500, 1]]` rises from almost
            nothing.
    """
    if len(at) != len(factors):
        raise ValueError(f"schedule.at has {len(at)} values, schedule.factors has {len(factors)}")
    waypoints = [tuple(point) for point in warmup]
    if not waypoints or waypoints[0][0] > 0:
        waypoints.insert(0, (0, 1.0))
    steps, rates = zip(*waypoints, strict=True)
    if any(b <= a for a, b in pairwise(steps)):
        raise ValueError(f"schedule.warmup needs rising steps, got {warmup}")

    def scale(step: int) -> float:
        rate = float(np.interp(step, steps, rates))
        for share, factor in zip(at, factors, strict=True):
            if step >= round(share * total_steps):
                rate *= factor
        return rate

    return LambdaLR(optimizer, scale)


def by_samples(
    optimizer: Optimizer,
    *,
    total_steps: int,
    batch_size: int,
    at: Sequence[int],
    factor: float = 0.5,
    warmup_steps: int = 0,
) -> LambdaLR:
    """Fall in steps that are counted in samples and not in batches (MAST).

    Args:
        optimizer: whose rates are set.
        total_steps: of the run; the schedule does not depend on it.
        batch_size: samples of a step.
        at: the rate is multiplied once more when more than so many samples have been seen.
        factor: by this.
        warmup_steps: in which the rate rises linearly to its full value.
    """
    if batch_size < 1:
        raise ValueError(f"schedule.batch_size must be at least 1, got {batch_size}")

    def scale(step: int) -> float:
        falls = sum(step * batch_size > samples for samples in at)
        return float(min(1.0, (step + 1) / (warmup_steps + 1)) * factor**falls)

    return LambdaLR(optimizer, scale)

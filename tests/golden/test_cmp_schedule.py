"""Learning rates equal the published ones, iteration by iteration."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate

from selfsup_motion.methods.parts.schedules import milestones
from selfsup_motion.settings.compose import compose


def optimizer(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_rates_of_the_published_70k_recipe(golden) -> None:
    case = golden("cmp/sampler_schedule.npz")
    cfg = compose(["experiment=paper/cmp_alexnet"])
    made = instantiate(cfg.method.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    schedule = instantiate(cfg.method.schedule)(made, total_steps=cfg.trainer.max_steps)
    (rate_at,) = schedule.lr_lambdas
    rates = [made.defaults["lr"] * rate_at(int(i)) for i in case["lr_iters"]]
    assert rates == pytest.approx(case["lr_70k"].tolist(), rel=1e-6)


def test_rates_with_warm_up(golden) -> None:
    case = golden("cmp/sampler_schedule.npz")
    schedule = milestones(
        optimizer(0.1),
        total_steps=40,
        at=[20 / 40, 30 / 40],
        factors=[0.1, 0.5],
        warmup=[(5, 4.0), (10, 8.0)],
    )
    (rate_at,) = schedule.lr_lambdas
    rates = [0.1 * rate_at(int(i)) for i in case["lr_warm_iters"]]
    assert rates == pytest.approx(case["lr_warm"].tolist(), rel=1e-6)

import math
from types import SimpleNamespace

import pytest
import torch

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.schedules import cosine, every_step, milestones, poly


def rates(make, steps: int, **options) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = make(optimizer, total_steps=steps, **options)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_training_without_a_limit_of_steps_has_no_schedule():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    endless = SimpleNamespace(estimated_stepping_batches=math.inf)
    with pytest.raises(UserError, match="give the trainer max_steps"):
        every_step(optimizer, cosine, endless)


def test_cosine_rises_then_falls_to_its_end():
    seen = rates(cosine, 100, warmup_steps=9, final_factor=0.1)
    assert seen[0] == pytest.approx(0.1)
    assert max(seen) == pytest.approx(seen[9])
    assert seen[9:] == sorted(seen[9:], reverse=True)
    assert seen[-1] == pytest.approx(0.1, abs=1e-3)


def test_milestones_follow_the_published_70k_schedule():
    seen = rates(milestones, 70, at=[4 / 7, 6 / 7], factors=[0.1, 0.1])
    assert seen[:40] == [1.0] * 40
    assert seen[40:60] == pytest.approx([0.1] * 20)
    assert seen[60:] == pytest.approx([0.01] * 10)


def test_warm_up_rises_from_almost_nothing_and_milestones_still_count():
    seen = rates(milestones, 20, at=[0.5], factors=[0.1], warmup=[(0, 0.01), (4, 1.0)])
    assert seen[0] == pytest.approx(0.01)
    assert seen[2] == pytest.approx(0.505)
    assert seen[4:10] == [1.0] * 6
    assert seen[10:] == pytest.approx([0.1] * 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": [0.5, 0.8], "factors": [0.1]}, "schedule.at has 2 values"),
        ({"at": [], "factors": [], "warmup": [(5, 1.0), (3, 2.0)]}, "rising steps"),
    ],
)
def test_impossible_milestones_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rates(milestones, 10, **options)


def test_poly_falls_to_its_end():
    seen = rates(poly, 10, power=0.9, final_factor=0.2)
    assert seen[0] == 1
    assert seen[5] == pytest.approx(0.5**0.9)
    assert seen[-1] == 0.2

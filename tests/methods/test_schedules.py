import pytest
import torch

from selfsup_motion.methods.schedules import cosine, milestones


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


def test_cosine_rises_then_falls_to_its_end():
    seen = rates(cosine, 100, warmup_steps=9, final_factor=0.1)
    assert seen[0] == pytest.approx(0.1)
    assert max(seen) == pytest.approx(seen[9])
    assert seen[9:] == sorted(seen[9:], reverse=True)
    assert seen[-1] == pytest.approx(0.1, abs=1e-3)


def test_milestones_follow_the_published_70k_schedule():
    seen = rates(milestones, 70, at=[4 / 7, 6 / 7])
    assert seen[:40] == [1.0] * 40
    assert seen[40:60] == pytest.approx([0.1] * 20)
    assert seen[60:] == pytest.approx([0.01] * 10)

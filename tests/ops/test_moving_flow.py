from __future__ import annotations

import pytest
import torch

from selfsup_motion.ops.moving_flow import MovingFlow

CODE = MovingFlow()


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Flow of a square that moves, and scores at half the resolution that say just this."""
    flow = torch.zeros(2, 2, 16, 16)
    flow[:, 0, 4:12, 4:12] = 3.0
    half = flow[:, :, ::2, ::2]
    moves = half[:, :1] > 0
    return flow, torch.cat([half, torch.where(moves, 20.0, -20.0)], 1)


def test_the_truth_costs_nothing() -> None:
    flow, scores = example()
    assert CODE.loss(scores, flow) == pytest.approx(0.01, abs=2e-3)  # the root's rounding at zero
    assert torch.equal(CODE.decode(scores), scores[:, :2])
    assert (CODE.moving(scores) > 0.5).sum() == 2 * 16


def test_what_is_not_valid_does_not_count() -> None:
    flow, scores = example()
    valid = torch.ones(2, 16, 16, dtype=torch.bool)
    valid[:, :, 12:] = False
    changed = flow.clone()
    changed[..., 12:] = float("nan")
    assert torch.equal(CODE.loss(scores, changed, valid), CODE.loss(scores, flow, valid))


def test_a_missed_small_thing_costs_more_than_its_share() -> None:
    flow, scores = example()
    still = scores.clone()
    still[:, :2] = 0
    missed = still.clone()
    missed[:, 2] = -4
    assert CODE.loss(missed, flow) > CODE.loss(still, flow) > CODE.loss(scores, flow)


def test_no_valid_pixel_gives_no_gradient() -> None:
    flow, scores = example()
    scores.requires_grad_()
    loss = CODE.loss(scores, flow, torch.zeros(2, 16, 16, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="MovingFlow compares"):
        CODE.loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8))

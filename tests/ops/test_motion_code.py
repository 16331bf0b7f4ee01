"""What every way to write a flow as scores promises, and what is special about each."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.motion_code import FlowRegression, JointBins, MotionCode, PolarBins

CODES: dict[str, MotionCode] = {
    "axes": FlowBins(41, 20.0),
    "axes, quadratic": FlowBins(41, 20.0, "quadratic"),
    "joint": JointBins(41, 20.0, "linear"),
    "joint, quadratic": JointBins(41, 20.0, "quadratic"),
    "polar": PolarBins(72, 41, 20.0, "linear"),
    "polar, quadratic": PolarBins(72, 41, 20.0, "quadratic"),
    "smooth l1": FlowRegression("smooth_l1"),
    "l2": FlowRegression("l2"),
}
BY_NAME = pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())


def random_flow(seed: int = 0, size: tuple[int, int] = (5, 6), length: float = 15.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(2, *size, generator=generator)
    radius = length * torch.rand(2, *size, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def perfect_scores(code: MotionCode, flow: Tensor) -> Tensor:
    """Scores that are sure of the truth."""
    if isinstance(code, FlowRegression):
        return flow
    if isinstance(code, PolarBins):
        parts = zip(code.encode(flow), (code.angle_bins, code.radius_bins), strict=True)
        return 100.0 * torch.cat([F.one_hot(p, n).movedim(-1, 1) for p, n in parts], 1)
    labels, classes = code.encode(flow), code.channels
    if isinstance(code, FlowBins):
        return 100.0 * F.one_hot(labels, classes // 2).movedim(-1, 2).flatten(1, 2)
    return 100.0 * F.one_hot(labels, classes).movedim(-1, 1)


@BY_NAME
def test_sure_scores_decode_to_the_flow_they_were_made_of(code):
    flow = random_flow()
    decoded = code.decode(perfect_scores(code, flow))
    # half a bin, which at 20 px is up to 2 px wide, and half an angle of 5 degrees
    assert (decoded - flow).norm(dim=1).max() < 1.6
    assert (decoded - flow).norm(dim=1).mean() < 0.6


@BY_NAME
def test_the_truth_has_the_least_loss(code):
    flow = random_flow()
    right = code.loss(perfect_scores(code, flow), flow)
    wrong = code.loss(perfect_scores(code, -flow), flow)
    assert right < 1e-4
    assert wrong > 1


@BY_NAME
def test_only_valid_pixels_count_whatever_the_others_hold(code):
    scores = torch.randn(2, code.channels, 3, 3, generator=torch.Generator().manual_seed(0))
    flow = random_flow(size=(12, 12))
    valid = torch.zeros(2, 12, 12, dtype=torch.bool)
    valid[:, 5:9, 3:7] = True
    spoiled = torch.where(valid.unsqueeze(1), flow, torch.nan)
    scores.requires_grad_()
    loss = code.loss(scores, spoiled, valid)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.isfinite().all()
    full = F.interpolate(scores, (12, 12), mode="bilinear", align_corners=True)
    cut = full[:, :, 5:9, 3:7], flow[:, :, 5:9, 3:7]
    torch.testing.assert_close(loss, code.loss(*cut))


@BY_NAME
def test_without_valid_pixels_there_is_no_loss_and_no_gradient(code):
    scores = torch.randn(1, code.channels, 2, 2, requires_grad=True)
    valid = torch.zeros(1, 8, 8, dtype=torch.bool)
    loss = code.loss(scores, torch.full((1, 2, 8, 8), torch.nan), valid)
    loss.backward()
    assert loss == 0
    assert not scores.grad.any()


@BY_NAME
def test_motion_too_fast_for_the_code_is_compared_with_the_fastest_it_has(code):
    flow = 100 * random_flow(size=(8, 8))
    scores = torch.randn(2, code.channels, 4, 4, requires_grad=True)
    loss = code.loss(scores, flow)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()


@BY_NAME
def test_scores_of_another_code_are_refused(code):
    with pytest.raises(ValueError, match=str(code.channels)):
        code.loss(torch.zeros(1, 7, 2, 2), torch.zeros(1, 2, 8, 8))


@BY_NAME
def test_half_precision_is_decoded_in_single(code):
    scores = perfect_scores(code, random_flow()).bfloat16()
    assert code.decode(scores).dtype == torch.float32


def test_joint_bins_can_hold_two_motions_that_axes_cannot_tell_from_their_mixture():
    code = JointBins(21, 20.0, "linear")
    one, other = torch.tensor([8.0, 8.0]), torch.tensor([-8.0, -8.0])
    scores = sum(perfect_scores(code, f.view(1, 2, 1, 1)) for f in (one, other))
    mixed = torch.tensor([8.0, -8.0]).view(1, 2, 1, 1)
    assert code.loss(scores, mixed) > 50
    assert code.loss(scores, one.view(1, 2, 1, 1)) < 1


def test_polar_flow_is_short_where_its_direction_is_in_doubt():
    code = PolarBins(30, 20, 50.0, "linear")
    scores = torch.zeros(1, 50, 1, 1)
    scores[:, 45] = 100
    assert code.decode(scores).norm() < 1e-4
    scores[:, 7] = 100  # straight to the right
    torch.testing.assert_close(
        code.decode(scores).flatten(), torch.tensor([38.75, 0.0]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JointBins(12, 20.0, "linear"), "num_bins must be odd"),
        (lambda: PolarBins(2, 20, 50.0, "linear"), "angle_bins >= 3"),
        (lambda: PolarBins(30, 20, 0.0, "linear"), "max_flow must be a positive"),
        (lambda: PolarBins(30, 20, 50.0, "cubic"), "spacing must be"),
        (lambda: FlowRegression("l1"), "norm must be"),
    ],
)
def test_impossible_codes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_longest_motion_is_told_by_every_code():
    assert FlowRegression("l2").max_flow is None
    for code in (
        FlowBins(9, 12.0, "linear"), JointBins(9, 12.0, "linear"), PolarBins(8, 4, 12.0, "linear"),
    ):  # fmt: skip
        assert code.max_flow == 12

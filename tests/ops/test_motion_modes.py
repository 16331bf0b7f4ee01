"""Entropy and modes of predicted motions."""

import math

import pytest
import torch

from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.motion_code import FlowRegression, JointBins, PolarBins
from selfsup_motion.ops.motion_modes import mixture_modes, motion_modes

CODES = {
    "linear": FlowBins(11, 10.0),
    "quadratic": FlowBins(11, 10.0, "quadratic"),
    "joint": JointBins(5, 10.0, "linear"),
    "polar": PolarBins(8, 6, 10.0, "linear"),
}


@pytest.mark.parametrize("name", CODES)
def test_all_modes_together_have_the_mean_that_decode_gives(name):
    code = CODES[name]
    scores = 2 * torch.randn(2, code.channels, 3, 4, generator=torch.Generator().manual_seed(1))
    modes = motion_modes(code, scores, count=100)
    assert torch.allclose(modes.shares.sum(1), torch.ones(2, 3, 4), atol=1e-5)
    assert (modes.shares.diff(dim=1) <= 1e-6).all()
    mean = (modes.shares[:, :, None] * modes.motions).sum(1)
    assert torch.allclose(mean, code.decode(scores), atol=1e-4)


def test_two_peaks_of_an_axis_are_two_modes():
    code = FlowBins(11, 11.0)  # bins two pixels wide
    scores = torch.full((1, 22, 1, 1), -20.0)
    scores[0, [1, 2, 8]] = torch.tensor([0.3, 0.2, 0.5]).log()[:, None, None]
    scores[0, 11 + 5] = 0.0
    entropy, shares, motions = motion_modes(code, scores)
    assert shares[0, :2, 0, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    found = motions[0, :2, :, 0, 0].sort(0).values.flatten().tolist()
    assert found == pytest.approx([-7.2, 0.0, 6.0, 0.0], abs=1e-3)
    assert float(entropy) == pytest.approx(1.4855, abs=1e-3)


def test_entropy_is_zero_without_a_doubt_and_greatest_where_all_is_possible():
    for code, most in zip(
        CODES.values(),
        (2 * math.log2(11), 2 * math.log2(11), 2 * math.log2(5), math.log2(8 * 6)),
        strict=True,
    ):
        sure = torch.full((1, code.channels, 1, 1), -60.0)
        sure[:, [0, -1]] = 0.0
        if isinstance(code, JointBins):
            sure[:, -1] = -60.0
        assert float(motion_modes(code, sure).entropy) == pytest.approx(0, abs=1e-4)
        assert float(motion_modes(code, 0 * sure).entropy) == pytest.approx(most, abs=1e-4)


def test_directions_left_and_right_of_straight_up_are_one_mode():
    code = PolarBins(8, 2, 10.0, "linear")  # the first and the last bin meet there
    scores = torch.full((1, 10, 1, 1), -30.0)
    scores[0, [0, 7, 8]] = 0.0
    modes = motion_modes(code, scores)
    assert float(modes.shares[0, 0]) == pytest.approx(1, abs=1e-4)
    assert float(modes.motions[0, 0, 0]) == pytest.approx(0, abs=1e-4)
    assert float(modes.motions[0, 0, 1]) < 0


def test_a_code_without_probabilities_is_refused():
    with pytest.raises(ValueError, match="FlowRegression"):
        motion_modes(FlowRegression("l2"), torch.zeros(1, 2, 4, 4))


def test_motions_of_a_mixture_that_are_alike_are_one():
    shares = torch.tensor([0.3, 0.2, 0.5]).view(1, 3, 1, 1)
    motions = torch.tensor([[4.0, 0.0], [4.1, 0.0], [0.0, 0.0]]).view(1, 3, 2, 1, 1)
    modes = mixture_modes(shares, motions, alike=0.5)
    assert modes.shares.flatten().tolist() == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)
    assert float(modes.entropy) == pytest.approx(1, abs=0.02)
    apart = mixture_modes(shares, 10 * motions, alike=0.1)
    assert float(apart.entropy) == pytest.approx(1.4855, abs=1e-3)
    same = mixture_modes(shares, torch.ones_like(motions), alike=0.1)
    assert float(same.entropy) == 0
    assert float(same.shares[0, 0]) == 1

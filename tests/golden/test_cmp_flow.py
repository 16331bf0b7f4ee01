"""Bins, loss, decoding and colours equal the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.ops.flow import FlowBins, flow_to_color
from selfsup_motion.ops.flow_color import color_wheel

BINS = FlowBins(99, 50.0)


def test_labels_equal_the_published_ones(golden):
    case = golden("cmp/quantisation_small.npz")
    target = torch.from_numpy(case["target"])
    np.testing.assert_array_equal(BINS.encode(target), case["bins_99_50"])
    for spacing in ("linear", "quadratic"):
        labels = FlowBins(19, 47.5, spacing).encode(target)
        np.testing.assert_array_equal(labels, case[f"multi_{spacing}_bins"])


def test_loss_of_upsampled_scores_and_its_gradient_equal_the_published_ones(golden):
    case = golden("cmp/quantisation_small.npz")
    scores = torch.from_numpy(case["logits_small"]).requires_grad_()
    loss = BINS.loss(scores, torch.from_numpy(case["target"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(case["loss_99_50_small"]), rel=1e-5)
    np.testing.assert_allclose(scores.grad, case["grad_small"], atol=1e-7, rtol=1e-4)


def test_loss_at_the_target_size_equals_the_published_one(golden):
    case = golden("cmp/quantisation.npz")
    scores, target = torch.from_numpy(case["logits"]), torch.from_numpy(case["target"])
    assert BINS.loss(scores, target).item() == pytest.approx(float(case["loss_99_50"]), rel=1e-5)
    np.testing.assert_allclose(BINS.decode(scores), case["decoded"], atol=1e-4)


def test_decoded_flow_equals_the_published_one(golden):
    case = golden("cmp/quantisation_small.npz")
    np.testing.assert_allclose(BINS.centers, case["fuser_mesh"], atol=1e-5)
    decoded = BINS.decode(torch.from_numpy(case["logits_small"]))
    np.testing.assert_allclose(decoded, case["decoded_small"], atol=1e-4)
    upsampled = F.interpolate(decoded, (16, 20), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(upsampled, case["decoded_small_up_16x20"], atol=1e-4)


def test_color_wheel_equals_the_published_one(golden):
    np.testing.assert_array_equal(color_wheel(), golden("cmp/flow_colour.npz")["wheel"])


@pytest.mark.parametrize(
    "name", ["rect", "discs", "rotation", "zoom", "zero", "noise", "bad", "big"]
)
def test_colors_equal_the_published_ones(name, golden):
    case = golden("cmp/flow_colour.npz")
    painted = flow_to_color(case[f"flow_{name}"].transpose(2, 0, 1)).astype(int)
    expected = case[f"rgb_{name}"].transpose(2, 0, 1)
    assert np.abs(painted - expected).max() <= 1

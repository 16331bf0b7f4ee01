"""Bins, loss, decoding and colours equal the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.ops.flow import FlowBins, flow_to_color
from selfsup_motion.ops.flow_color import color_wheel
from selfsup_motion.ops.flow_loss import upsampled_cross_entropy
from selfsup_motion.ops.motion_code import FlowRegression, JointBins, PolarBins

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


def axis_loss(scores, labels, weight=None):
    """Cross-entropy of one axis; (B, N, h, w), (B, H, W)."""
    if weight is None:
        weight = torch.full(labels.shape, 1 / labels.numel())
    return upsampled_cross_entropy(scores.unsqueeze(1), labels.unsqueeze(1), weight)


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
def test_loss_per_axis_equals_the_published_one(golden, spacing):
    # the published numbers weigh the vertical axis twice, and average over a list of resolutions
    case = golden("cmp/quantisation.npz")
    labels = FlowBins(19, 47.5, spacing).encode(torch.from_numpy(case["target"]))
    scores = torch.from_numpy(case["logits"][:, :38])
    losses = []
    for resolution in (scores, scores[:, :, ::2, ::2]):
        x, y = (axis_loss(s, labels[:, i]) for i, s in enumerate(resolution.chunk(2, 1)))
        losses.append((x + 2 * y).item())
    assert losses[0] == pytest.approx(float(case[f"multi_{spacing}_loss"]), rel=1e-5)
    expected = float(case[f"multi_{spacing}_loss_list"])
    assert sum(losses) / 2 == pytest.approx(expected, rel=1e-5)


def test_weighted_loss_equals_the_published_one(golden):
    # still pixels count a hundredth; the published code forgets it for the horizontal axis
    case = golden("cmp/quantisation.npz")
    labels = FlowBins(19, 47.5).encode(torch.from_numpy(case["target"]))
    np.testing.assert_array_equal(labels, case["weighted_bins"])
    x, y = torch.from_numpy(case["logits"][:, :38]).chunk(2, 1)
    weight = torch.where(labels[:, 1] == 9, 0.01, 1.0)
    loss = axis_loss(x, labels[:, 0]) + axis_loss(y, labels[:, 1], weight / weight.sum())
    assert loss.item() == pytest.approx(float(case["weighted_loss"]), rel=1e-5)


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
def test_joint_classes_and_loss_equal_the_published_ones(golden, spacing):
    case = golden("cmp/quantisation.npz")
    code, target = JointBins(13, 47.5, spacing), torch.from_numpy(case["target"])
    np.testing.assert_array_equal(code.encode(target), case[f"joint_{spacing}_bins"])
    scores = np.random.RandomState(5).randn(2, 169, 16, 20).astype(np.float32)
    np.testing.assert_array_equal(scores[:, :2], case["joint_logits_seed5"])
    loss = code.loss(torch.from_numpy(scores), target)
    assert loss.item() == pytest.approx(float(case[f"joint_{spacing}_loss"]), rel=1e-5)


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
def test_polar_classes_and_loss_equal_the_published_ones(golden, spacing):
    case = golden("cmp/quantisation.npz")
    code, target = PolarBins(30, 20, 50.0, spacing), torch.from_numpy(case["target"])
    classes = torch.stack(code.encode(target), 1)
    np.testing.assert_array_equal(classes, case[f"polar_{spacing}_bins"])
    loss = code.loss(torch.from_numpy(case["logits"][:, :50]), target)
    assert loss.item() == pytest.approx(float(case[f"polar_{spacing}_loss"]), rel=1e-5)


def test_regression_losses_equal_the_published_ones(golden):
    case = golden("cmp/quantisation.npz")
    target, scores, small = (
        torch.from_numpy(case[k]) for k in ("target", "logits", "logits_small")
    )
    # one is a mean over a list of predictions, the other a sum
    losses = [FlowRegression("smooth_l1").loss(s[:, :2], target).item() for s in (scores, small)]
    assert sum(losses) / 2 == pytest.approx(float(case["multiL1"]), rel=1e-5)
    losses = [FlowRegression("l2").loss(scores[:, i : i + 2], target).item() for i in (0, 2)]
    assert sum(losses) == pytest.approx(float(case["multiMSE"]), rel=1e-5)


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

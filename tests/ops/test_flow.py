from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selfsup_motion.ops import flow_loss
from selfsup_motion.ops.flow import FlowBins, end_point_error
from selfsup_motion.ops.flow_loss import upsampled_cross_entropy

SPACINGS = ("linear", "quadratic")


def direct_loss(bins: FlowBins, scores: Tensor, flow: Tensor, valid: Tensor | None) -> Tensor:
    """The definition, with the upsampled scores of the whole batch in memory."""
    scores = F.interpolate(scores, flow.shape[-2:], mode="bilinear", align_corners=True)
    labels = bins.encode(flow)
    if valid is None:
        valid = torch.ones_like(flow[:, 0], dtype=torch.bool)
    total = scores.new_zeros(())
    for axis, part in enumerate(scores.chunk(2, 1)):
        losses = F.cross_entropy(part, labels[:, axis], reduction="none")
        total = total + losses[valid].mean()
    return total


@pytest.mark.parametrize("spacing", SPACINGS)
@settings(deadline=None)
@given(flow=st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=30))
def test_a_bin_contains_what_is_encoded_into_it(spacing, flow):
    bins = FlowBins(41, 20.0, spacing)
    values = torch.tensor(flow)
    centers = bins.centers
    edges = (centers[1:] + centers[:-1]) / 2 if spacing == "linear" else None
    labels = bins.encode(values)
    assert ((labels >= 0) & (labels < 41)).all()
    distance = (values.clamp(-20, 20) - centers[labels]).abs()
    widest = (centers[-1] - centers[-2]).item() * (1.01 if spacing == "quadratic" else 0.51)
    assert (distance <= widest).all()
    if edges is not None:
        nearest = (values.clamp(-20, 20).unsqueeze(1) - centers).abs().min(1).values
        torch.testing.assert_close(distance, nearest, atol=1e-4, rtol=0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_centers_are_encoded_into_their_own_bin(spacing):
    bins = FlowBins(99, 50.0, spacing)
    torch.testing.assert_close(bins.encode(bins.centers), torch.arange(99))
    assert bins.centers[49] == 0


@pytest.mark.parametrize("spacing", SPACINGS)
def test_confident_scores_decode_to_their_bin(spacing):
    bins = FlowBins(41, 20.0, spacing)
    flow = torch.empty(2, 2, 5, 6).uniform_(-20, 20, generator=torch.Generator().manual_seed(0))
    labels = bins.encode(flow)
    scores = 100.0 * F.one_hot(labels, 41).movedim(-1, 2).flatten(1, 2)
    torch.testing.assert_close(bins.decode(scores), bins.centers[labels])


def test_scores_with_channels_last_are_decoded_alike():
    bins = FlowBins(41, 20.0)
    scores = torch.randn(2, 82, 5, 6, generator=torch.Generator().manual_seed(0))
    last = scores.contiguous(memory_format=torch.channels_last)
    ours, reference = last.requires_grad_(), scores.requires_grad_()
    flow, expected = bins.decode(ours), bins.decode(reference)
    torch.testing.assert_close(flow, expected)
    flow.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, reference.grad)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    in_size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    out_size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    masked=st.booleans(),
    in_tile=st.sampled_from([flow_loss._SCORES_CPU, 9 * 20**2]),
)
def test_loss_and_gradient_equal_the_direct_form(seed, in_size, out_size, masked, in_tile):
    generator = torch.Generator().manual_seed(seed)
    bins = FlowBins(9, 20.0)
    scores = 3 * torch.randn(2, 18, *in_size, generator=generator, dtype=torch.float64)
    flow = 10 * torch.randn(2, 2, *out_size, generator=generator, dtype=torch.float64)
    valid = torch.rand(2, *out_size, generator=generator) < 0.7 if masked else None
    if valid is not None:
        valid[0, 0, 0] = True
    ours, reference = (scores.clone().requires_grad_() for _ in range(2))
    with mock.patch.object(flow_loss, "_SCORES_CPU", in_tile):
        loss = bins.loss(ours, flow, valid)
    expected = direct_loss(bins, reference, flow, valid)
    (2 * loss).backward()
    (2 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, reference.grad)


def test_loss_of_many_tiles_equals_the_direct_form_in_single_precision():
    bins = FlowBins(99, 50.0)
    generator = torch.Generator().manual_seed(0)
    ours = (3 * torch.randn(1, 198, 16, 20, generator=generator)).requires_grad_()
    reference = ours.detach().clone().requires_grad_()
    flow = 15 * torch.randn(1, 2, 128, 160, generator=generator)
    loss, expected = bins.loss(ours, flow), direct_loss(bins, reference, flow, None)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(ours.grad, reference.grad, atol=1e-8, rtol=1e-3)


def test_loss_passes_gradcheck():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 2, 3, 3, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (2, 2, 5, 7), generator=generator)
    weight = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: upsampled_cross_entropy(s, labels, weight), scores.requires_grad_()
    )


def test_loss_can_be_differentiated_again_where_the_graph_is_kept():
    scores = torch.randn(1, 6, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = 3 * FlowBins(3, 3.0).loss(scores, torch.full((1, 2, 8, 8), 2.0))
    first, second = (torch.autograd.grad(loss, scores, retain_graph=True)[0] for _ in range(2))
    (last,) = torch.autograd.grad(loss, scores)
    assert torch.equal(first, second)
    assert torch.equal(first, last)


def test_loss_of_extreme_scores_is_finite():
    scores = torch.full((1, 6, 2, 2), -1e4).requires_grad_()
    with torch.no_grad():
        scores[:, ::3] = 1e4
    loss = FlowBins(3, 3.0).loss(scores, torch.full((1, 2, 8, 8), 2.9))
    loss.backward()
    assert loss.item() == pytest.approx(4e4)
    assert scores.grad.isfinite().all()


def test_a_loss_of_neighbours_that_disagree_is_that_of_the_direct_form():
    generator = torch.Generator().manual_seed(0)
    scores = 200 * torch.randn(1, 18, 3, 3, generator=generator)
    ours, reference = (scores.clone().requires_grad_() for _ in range(2))
    flow = 10 * torch.randn(1, 2, 12, 12, generator=generator)
    bins = FlowBins(9, 20.0)
    loss, expected = bins.loss(ours, flow), direct_loss(bins, reference, flow, None)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, reference.grad, atol=1e-6, rtol=1e-4)


def test_pixels_that_are_not_valid_change_nothing_whatever_they_hold():
    bins = FlowBins(9, 20.0)
    scores = torch.randn(2, 18, 3, 3, generator=torch.Generator().manual_seed(0))
    flow = torch.ones(2, 2, 12, 12)
    valid = torch.ones(2, 12, 12, dtype=torch.bool)
    valid[:, 4:] = False
    spoiled = flow.clone()
    spoiled[:, :, 4:] = torch.nan
    torch.testing.assert_close(
        bins.loss(scores, spoiled, valid), direct_loss(bins, scores, flow, valid)
    )


def test_no_valid_pixel_gives_no_loss_and_no_gradient():
    scores = torch.randn(1, 18, 2, 2, requires_grad=True)
    valid = torch.zeros(1, 8, 8, dtype=torch.bool)
    loss = FlowBins(9, 20.0).loss(scores, torch.full((1, 2, 8, 8), torch.nan), valid)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.count_nonzero() == 0


def test_loss_under_autocast_is_computed_in_single_precision():
    scores = torch.randn(1, 18, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    flow = torch.zeros(1, 2, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = FlowBins(9, 20.0).loss(scores.requires_grad_(), flow)
    loss.backward()
    expected = FlowBins(9, 20.0).loss(scores.detach().float(), flow)
    torch.testing.assert_close(loss, expected)
    assert scores.grad.dtype == torch.bfloat16


def test_scaled_gradients_of_half_precision_do_not_vanish():
    bins = FlowBins(9, 20.0)
    scores = 2 * torch.randn(1, 18, 64, 64, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(1, 2, 64, 64)
    half, full = scores.half().requires_grad_(), scores.half().float().requires_grad_()
    (2**16 * bins.loss(half, flow)).backward()
    (2**16 * bins.loss(full, flow)).backward()
    torch.testing.assert_close(half.grad.float(), full.grad, rtol=1e-3, atol=1e-6)


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.numel = max(self.numel, *sizes, 0)
        return out


def test_full_resolution_scores_never_exist():
    scores = torch.zeros(2, 198, 12, 12, requires_grad=True)
    flow = torch.zeros(2, 2, 192, 192)
    with LargestTensor() as seen:
        FlowBins(99, 50.0).loss(scores, flow).backward()
    with LargestTensor() as seen_direct:
        direct_loss(FlowBins(99, 50.0), scores, flow, None).backward()
    assert seen_direct.numel >= 2 * 198 * 192 * 192
    assert seen.numel < seen_direct.numel / 20


def test_end_point_error_counts_valid_pixels_only():
    target = torch.zeros(1, 2, 2, 2)
    pred = target + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    pred[..., 0, 0] = torch.nan
    valid = torch.tensor([[[False, True], [True, True]]])
    assert end_point_error(pred, target, valid).item() == 5
    assert end_point_error(target, target).item() == 0
    assert end_point_error(pred, target, torch.zeros_like(valid)).isnan()


def test_valid_of_another_shape_or_type_is_refused():
    flow, valid = torch.ones(3, 2, 4, 5), torch.ones(3, 4, 5, dtype=torch.bool)
    bins = FlowBins(9, 20.0)
    for other in (valid[:, None], valid[0], 255 * valid.byte(), valid.float()):
        with pytest.raises(ValueError, match=r"valid must be bool \(3, 4, 5\)"):
            end_point_error(torch.zeros_like(flow), flow, other)
        with pytest.raises(ValueError, match=r"valid must be bool \(3, 4, 5\)"):
            bins.loss(torch.zeros(3, 18, 2, 2), flow, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((98, 50.0), "num_bins must be odd"),
        ((99, 0.0), "max_flow must be a positive"),
        ((99, 50.0, "cubic"), "spacing must be"),
    ],
)
def test_impossible_bins_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FlowBins(*arguments)


def test_scores_of_another_number_of_bins_are_refused():
    with pytest.raises(ValueError, match=r"expected scores \(1, 198, h, w\) for FlowBins\(99"):
        FlowBins().loss(torch.zeros(1, 82, 2, 2), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match="198"):
        FlowBins().decode(torch.zeros(1, 82, 2, 2))


def test_bins_print_as_they_are_made():
    assert repr(FlowBins(41, 20)) == "FlowBins(41, 20, 'linear')"
    assert np.isclose(FlowBins(41, 20).centers[-1], 20 - 20 / 41)

"""Pushing pixels and filling holes."""

import pytest
import torch

from selfsup_motion.ops.splat import fill_holes, softmax_splat


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def test_no_motion_changes_nothing(image):
    same, coverage = softmax_splat(image, torch.zeros(2, 2, 8, 10), torch.zeros(2, 1, 8, 10))
    torch.testing.assert_close(same, image)
    torch.testing.assert_close(coverage, torch.ones(2, 1, 8, 10))


def test_a_whole_shift_moves_pixels_and_leaves_a_hole(image):
    flow = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(2, 2, 8, 10)
    moved, coverage = softmax_splat(image, flow, torch.zeros(2, 1, 8, 10))
    torch.testing.assert_close(moved[..., 2:], image[..., :-2])
    assert not coverage[..., :2].any()
    assert not moved[..., :2].any()


def test_half_a_pixel_is_shared_by_its_neighbours():
    row = torch.zeros(1, 1, 1, 4)
    row[..., 1] = 1.0
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0, 0, 1] = 0.5
    _, coverage = softmax_splat(row, flow, torch.zeros(1, 1, 1, 4))
    torch.testing.assert_close(coverage.flatten(), torch.tensor([1.0, 0.5, 1.5, 1.0]))


def test_the_more_important_pixel_hides_the_other():
    row = torch.tensor([5.0, 7.0, 0.0]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 0, 0, 0] = 1.0
    front = torch.tensor([30.0, 0.0, 0.0]).view(1, 1, 1, 3)
    assert softmax_splat(row, flow, front)[0][0, 0, 0, 1] == pytest.approx(5.0, abs=1e-4)
    assert softmax_splat(row, flow, -front)[0][0, 0, 0, 1] == pytest.approx(7.0, abs=1e-4)


def test_splatting_passes_gradcheck():
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(1, c, 4, 5, generator=generator, dtype=torch.float64) for c in (2, 2, 1)]
    inputs[1] = inputs[1] * 0.8 + 0.1  # away from whole pixels, where the derivative jumps
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(lambda *args: softmax_splat(*args)[0], inputs)


def test_sizes_that_differ_are_refused(image):
    with pytest.raises(ValueError, match=r"importance \(B, 1, H, W\), got"):
        softmax_splat(image, torch.zeros(2, 2, 8, 10), torch.zeros(2, 1, 8, 9))


@pytest.mark.parametrize("size", [(8, 10), (7, 5), (1, 9), (1, 1)])
def test_known_pixels_stay_and_a_constant_fills_with_itself(size):
    values = torch.full((1, 2, *size), 3.0)
    weight = (torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    weight[..., 0, 0] = 1.0
    torch.testing.assert_close(fill_holes(values * weight, weight), values)


def test_a_hole_takes_the_colour_of_its_surroundings():
    values = torch.zeros(1, 1, 16, 16)
    values[..., 8:] = 1.0
    weight = torch.ones(1, 1, 16, 16)
    weight[..., 2:5, 2:5] = 0
    weight[..., 2:5, 12:14] = 0
    filled = fill_holes(values, weight)
    assert filled[0, 0, 3, 3] < 0.1
    assert filled[0, 0, 3, 12] > 0.9
    torch.testing.assert_close(filled * weight, values * weight)


def test_nothing_known_gives_zero():
    assert not fill_holes(torch.rand(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)).any()

from __future__ import annotations

import pytest
import torch

from selfsup_motion.ops.color import rgb_to_lab
from selfsup_motion.ops.warp import backward_warp, forward_warp


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0)) + 0.1


@pytest.fixture
def shift() -> torch.Tensor:
    """Two pixels to the right, one up."""
    return torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, 9, 11).contiguous()


def test_no_motion_changes_nothing(image):
    still = torch.zeros(2, 2, 9, 11)
    torch.testing.assert_close(backward_warp(image, still), image)
    warped, hole = forward_warp(image, still)
    assert torch.equal(warped, image)
    assert not hole.any()


def test_warps_move_into_opposite_directions(image, shift):
    moved, hole = forward_warp(image, shift)
    torch.testing.assert_close(moved[:, :, 1:-1, 3:-1], image[:, :, 2:, 1:-3])
    assert hole[:, :, :, :2].all()
    assert hole[:, :, -1].all()
    assert not moved[hole.expand_as(moved)].any()
    torch.testing.assert_close(backward_warp(moved, shift)[:, :, 2:, 1:-3], image[:, :, 2:, 1:-3])


def test_backward_warp_is_zero_outside_the_image(image, shift):
    warped = backward_warp(image, shift)
    assert not warped[:, :, 0].any()
    assert not warped[:, :, :, -2:].any()
    assert (warped[:, :, 1:, :-2] > 0).all()


def test_backward_warp_interpolates():
    ramp = torch.arange(5.0).expand(1, 1, 3, 5)
    half = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 5)
    torch.testing.assert_close(backward_warp(ramp, half)[..., :4], ramp[..., :4] + 0.5)


def test_the_fastest_pixel_covers_the_others():
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 0, 0] = torch.tensor([2.0, 1.0, 0.0])
    warped, hole = forward_warp(image, flow)
    assert warped.flatten().tolist() == [0, 0, 1]
    assert hole.flatten().tolist() == [True, True, False]


def test_displacements_are_truncated_and_clamped_to_the_image():
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 0, 0] = torch.tensor([-5.0, 0.9, -0.9])
    assert forward_warp(image, flow)[0].flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize("unknown", [torch.nan, torch.inf])
def test_pixels_whose_motion_is_not_known_land_nowhere(unknown):
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 1, 0, 2] = unknown
    warped, hole = forward_warp(image, flow)
    assert warped.flatten().tolist() == [1, 2, 0]
    assert hole.flatten().tolist() == [False, False, True]


def test_warps_pass_gradcheck():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    flow = torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(backward_warp, (image, flow.requires_grad_()))
    assert torch.autograd.gradcheck(lambda x: forward_warp(x, 3 * flow.detach())[0], image)


def test_sizes_that_differ_are_refused(image):
    for warp in (backward_warp, forward_warp):
        with pytest.raises(ValueError, match=r"flow \(B, 2, H, W\), got"):
            warp(image, torch.zeros(2, 2, 9, 10))


def test_lab_of_known_colours():
    colours = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).T.view(1, 3, 1, 3)
    expected = torch.tensor([[100.0, 0.0, 0.0], [0.0, 0.0, 0.0], [53.24, 80.09, 67.20]])
    torch.testing.assert_close(rgb_to_lab(colours)[0, :, 0].T, expected, atol=0.05, rtol=0.001)


def test_lab_of_bytes_is_refused():
    with pytest.raises(ValueError, match=r"float images in \[0, 1\], got torch.uint8"):
        rgb_to_lab(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))

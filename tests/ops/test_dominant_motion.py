import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.ops.dominant_motion import dominant_motion


def affine_field(parameters: torch.Tensor, height: int = 48, width: int = 64) -> torch.Tensor:
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    terms = torch.stack([torch.ones_like(x), x, y])
    return torch.einsum("ct,thw->chw", parameters, terms)[None]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_an_affine_field_is_its_own_dominant_motion(seed):
    torch.manual_seed(seed)
    field = affine_field(torch.randn(2, 3) * 5)
    assert torch.allclose(dominant_motion(field), field, atol=1e-2)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), speed=st.floats(4, 30))
def test_a_moving_object_does_not_pull_it_away(seed, speed):
    torch.manual_seed(seed)
    ground = affine_field(torch.randn(2, 3))
    field = ground.clone()
    field[:, :, 8:32, 20:44] += torch.tensor([speed, -speed])[None, :, None, None]
    assert (dominant_motion(field) - ground).norm(dim=1).max() < 0.3


def test_invalid_pixels_do_not_count_whatever_they_hold():
    ground = affine_field(torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.5, -1.0]]))
    valid = torch.zeros(1, 48, 64, dtype=torch.bool)
    valid[:, :, :20] = True
    field = torch.where(valid[:, None], ground, float("nan"))
    assert torch.allclose(dominant_motion(field, valid), ground, atol=1e-2)


def test_nothing_valid_gives_no_motion():
    field = torch.full((1, 2, 32, 32), 7.0)
    valid = torch.zeros(1, 32, 32, dtype=torch.bool)
    assert dominant_motion(field, valid).abs().max() == 0


def test_pixels_that_do_not_determine_a_motion_get_the_one_nearest_to_theirs():
    field = affine_field(torch.tensor([[3.0, 2.0, 1.0], [-1.0, 0.0, 4.0]]), 96, 128)
    one, line = (torch.zeros(1, 96, 128, dtype=torch.bool) for _ in range(2))
    one[:, 8, 12] = True
    assert torch.equal(dominant_motion(field, one), field[..., 8:9, 12:13].expand_as(field))
    line[:, torch.arange(96), torch.arange(96)] = True  # says nothing of motion across it
    found = dominant_motion(field, line)
    assert (found - field).norm(dim=1)[line].max() < 1e-3
    assert found.abs().max() < 12
    still = torch.full_like(field, 3.0)
    for valid in (None, one, line):
        assert torch.allclose(dominant_motion(still, valid), still, rtol=1e-6)


def test_half_precision_is_fitted_like_any_other():
    field = affine_field(torch.tensor([[3.0, 2.0, 1.0], [-1.0, 0.0, 4.0]]))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = dominant_motion(field.to(dtype))
        assert found.dtype == dtype
        assert (found.float() - field).abs().max() < 8 * torch.finfo(dtype).eps + 1e-5

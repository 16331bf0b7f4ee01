"""What could move in a photo, what moves with a place, and how sure an answer is."""

from functools import partial

import pytest
import torch

from selfsup_motion.methods.cmp import CMP, explore, moves_with, uncertainty
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.motion_decoders.point_attention import PointAttentionDecoder
from selfsup_motion.models.motion_decoders.rest_attention import RestAttentionDecoder
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.moving_flow import MovingFlow

SQUARE = (slice(60, 100), slice(70, 120))


def method(form: str) -> CMP:
    torch.manual_seed(0)
    forms = {
        "rest": (partial(RestAttentionDecoder, widths=(16, 8, 8)), MovingFlow()),
        "points": (partial(PointAttentionDecoder, width=8, key_channels=8), FlowBins(41, 20.0)),
    }
    propagation, code = forms[form]
    return CMP(
        encoder=ResNetEncoder(depth=10, out_channels=16, width=8),
        propagation=propagation,
        motion_code=code,
        schedule=cosine,
    ).eval()


class SameColour(CMP):
    """Stands in for a trained network: what has the colour of the point moves with it."""

    def spread(self, features, points, vectors, point_mask, size):
        image = features["rgb"]
        x, y = points[:, 0].round().long().unbind(1)
        colour = image[torch.arange(len(image)), :, y, x]
        alike = (image - colour[:, :, None, None]).abs().amax(1, keepdim=True) < 0.1
        return (alike * vectors[:, 0, :, None, None],)

    def decode(self, scores, size):
        return torch.nn.functional.interpolate(scores, size, mode="nearest")


@pytest.fixture
def same_colour() -> CMP:
    made = method("points")
    made.__class__ = SameColour
    return made


def photo() -> torch.Tensor:
    """A red square on green ground."""
    image = torch.zeros(3, 160, 200, dtype=torch.uint8)
    image[1] = 150
    image[:, *SQUARE] = torch.tensor([200, 20, 20], dtype=torch.uint8)[:, None, None]
    return image


def test_a_thing_could_move_and_the_ground_could_not(same_colour):
    found = explore(same_colour, photo())
    could = found.could_move()
    assert could.shape == (160, 200)
    inside = torch.zeros(160, 200, dtype=torch.bool)
    inside[SQUARE] = True
    assert could[64:96, 74:116].min() > 0.5
    assert could[~inside].mean() < 0.2
    assert could.min() >= 0
    assert could.max() <= 1


def test_an_arrow_is_suggested_on_the_thing_and_nowhere_else(same_colour):
    hints = explore(same_colour, photo()).suggest(5)
    assert hints.points.shape == hints.vectors.shape == (1, 2)
    x, y = hints.points[0].tolist()
    assert 70 <= x < 120
    assert 60 <= y < 100
    assert float(hints.vectors.norm()) == pytest.approx(8)  # 5 % of the short side
    assert hints.used.all()


def test_a_thing_thinner_than_the_grid_is_asked_about(same_colour):
    image = photo()
    image[:, *SQUARE] = image[:, :1, :1]
    pole = (slice(50, 110), slice(120, 126))
    image[:, *pole] = torch.tensor([220, 220, 210], dtype=torch.uint8)[:, None, None]
    hints = explore(same_colour, image).suggest(5)
    assert len(hints.points) == 1
    x, y = hints.points[0].round().tolist()
    assert 120 <= x < 126
    assert 50 <= y < 110


def test_nothing_is_suggested_where_all_is_alike(same_colour):
    grey = torch.full((3, 64, 64), 120, dtype=torch.uint8)
    hints = explore(same_colour, grey).suggest(3)
    assert hints.points.shape == (0, 2)
    flow = same_colour.propagate(grey, *hints[:2])
    assert flow.shape == (2, 64, 64)


def test_what_moves_with_a_place(same_colour):
    encoded = same_colour.encode(photo())
    both = moves_with(encoded, torch.tensor([[90.0, 80.0], [10.0, 10.0]]))
    assert both.shape == (2, 160, 200)
    assert both[0][SQUARE].min() > 0.99
    assert both[0, :50].max() == 0
    assert torch.allclose(both.sum(0), torch.ones(160, 200))


def test_explore_wants_one_photo_and_some_places(same_colour):
    with pytest.raises(ValueError, match="places"):
        explore(same_colour, photo(), places=3)
    with pytest.raises(ValueError, match="single"):
        explore(same_colour, torch.stack([photo(), photo()]))


def test_flow_at_the_networks_resolution_is_in_pixels_of_the_image():
    rest = method("rest")
    encoded = rest.encode(photo(), short_side=64)
    points, vectors = torch.tensor([[90.0, 80.0]]), torch.tensor([[8.0, 0.0]])
    coarse = encoded.propagate(points, vectors, full_size=False)
    assert coarse.shape == (2, 32, 40)
    whole = encoded.propagate(points, vectors)
    near = torch.nn.functional.interpolate(whole[None], (32, 40), mode="area")[0]
    assert (coarse - near).abs().mean() < 0.1 * whole.abs().mean()


def test_resting_and_two_motions_mix_to_the_flow():
    rest = method("rest")
    torch.nn.init.normal_(rest.propagation.head.weight)
    image = photo()[None].float()
    points = torch.tensor([[[90.0, 80.0], [20.0, 20.0]]])
    given = points, torch.tensor([[[5.0, 1.0], [0.0, 0.0]]]), torch.ones(1, 2, dtype=torch.bool)
    with torch.no_grad():
        features = rest.features(image)
        shares, motions = rest.propagation.mixture(features, *given, (160, 200))
        flow = rest.propagation(features, *given, (160, 200))[:, :2]
    assert torch.allclose(shares.sum(1), torch.ones(1, 80, 100), atol=1e-5)
    assert torch.allclose((shares[:, :, None] * motions).sum(1), flow, atol=1e-4)


@pytest.mark.parametrize(("form", "most"), [("rest", 1.6), ("points", 2 * 5.36)])
def test_uncertainty_has_the_size_of_the_image(form, most):
    network = method(form)
    encoded = network.encode(photo(), short_side=64, dtype=torch.bfloat16)
    points = torch.tensor([[90.0, 80.0], [20.0, 20.0]])
    vectors = torch.tensor([[[8.0, 0.0], [0.0, 0.0]], [[0.0, 8.0], [0.0, 0.0]]])
    modes = uncertainty(encoded, points, vectors)
    assert modes.entropy.shape == (2, 160, 200)
    assert modes.shares.shape == (2, 3, 160, 200)
    assert modes.motions.shape == (2, 3, 2, 160, 200)
    assert modes.entropy.min() >= 0
    assert modes.entropy.max() <= most
    assert (modes.shares.diff(dim=1) <= 1e-6).all()
    mean = (modes.shares[:, :, None] * modes.motions).sum(1)
    flow = encoded.propagate(points, vectors)
    if form == "rest":  # which has no more modes than these
        assert (mean - flow).abs().mean() < 0.1 * flow.abs().mean()

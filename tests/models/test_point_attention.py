import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.models.motion_decoders.point_attention import (
    PointAttention,
    PointAttentionDecoder,
)
from selfsup_motion.ops.flow import FlowBins

CHANNELS = {"stem": 8, "layer1": 8, "output": 16}
SIZE = (64, 96)


def features(seed: int = 0, batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    strides = {"stem": 2, "layer1": 4, "output": 8}
    return {
        name: torch.randn(batch, CHANNELS[name], SIZE[0] // s, SIZE[1] // s, generator=generator)
        for name, s in strides.items()
    }


def guidance(count: int, seed: int = 0, batch: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0])
    points = torch.rand(batch, count, 2, generator=generator) * scale
    vectors = torch.randn(batch, count, 2, generator=generator) * 3
    return points, vectors, torch.ones(batch, count, dtype=torch.bool)


def decoder(**options: int) -> PointAttentionDecoder:
    torch.manual_seed(0)
    made = PointAttentionDecoder(
        feature_channels=CHANNELS, motion_code=FlowBins(41, 20.0), **options
    )
    return made.eval()


@settings(deadline=None, max_examples=10)
@given(u=st.floats(-12, 12), v=st.floats(-12, 12), count=st.integers(1, 12))
def test_untrained_a_common_vector_is_spread_everywhere(u, v, count):
    points, vectors, mask = guidance(count)
    vectors = torch.tensor([u, v]).expand_as(vectors)
    scores = decoder()(features(), points, vectors, mask, SIZE)
    assert scores.shape == (2, 82, 32, 48)
    flow = FlowBins(41, 20.0).decode(scores)
    assert (flow - torch.tensor([u, v])[None, :, None, None]).abs().max() < 0.05


def test_padding_changes_nothing():
    points, vectors, mask = guidance(5)
    plain = decoder()(features(), points, vectors, mask, SIZE)
    extra = torch.full((2, 3, 2), 1e3)
    padded = decoder()(
        features(),
        torch.cat([points, extra.clamp(max=50)], 1),
        torch.cat([vectors, extra], 1),
        torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1),
        SIZE,
    )
    bins = FlowBins(41, 20.0)
    assert torch.allclose(bins.decode(plain), bins.decode(padded), atol=1e-3)


def test_the_order_of_the_points_changes_nothing():
    points, vectors, mask = guidance(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    plain = decoder()(features(), points, vectors, mask, SIZE)
    shuffled = decoder()(features(), points[:, order], vectors[:, order], mask[:, order], SIZE)
    bins = FlowBins(41, 20.0)
    assert torch.allclose(bins.decode(plain), bins.decode(shuffled), atol=1e-3)


def test_without_any_point_the_scores_are_finite():
    points, vectors, mask = guidance(4)
    scores = decoder()(features(), points, torch.zeros_like(vectors), mask & False, SIZE)
    assert scores.isfinite().all()


def test_a_rotation_is_fitted_from_its_vectors():
    torch.manual_seed(0)
    attention = PointAttention(16, 8)
    with torch.no_grad():  # look at everything alike, from far away, and trust the fit
        attention.query.weight.zero_()
        attention.query.bias.zero_()
        attention.log_nearness.fill_(-6.0)
        attention.ridge.bias.fill_(-14.0)
    points, _, mask = guidance(8)
    centre, turn = torch.tensor([40.0, 30.0]), 0.1
    offset = points - centre
    vectors = turn * torch.stack([-offset[..., 1], offset[..., 0]], -1)
    fitted = attention(torch.randn(2, 16, 32, 48), points, vectors, mask, SIZE)[:, :2]
    y, x = torch.meshgrid(
        torch.linspace(0, SIZE[0] - 1, 32), torch.linspace(0, SIZE[1] - 1, 48), indexing="ij"
    )
    expected = turn * torch.stack([-(y - 30), x - 40])
    assert (fitted - expected).abs().max() < 0.15


def test_every_parameter_learns():
    made = decoder().train()
    # the head starts at zero, which hides what is before it: set it off zero
    torch.nn.init.normal_(made.head[-1].weight, std=0.1)
    points, vectors, mask = guidance(6)
    scores = made(features(), points, vectors, mask, SIZE)
    FlowBins(41, 20.0).loss(scores, torch.randn(2, 2, *SIZE) * 4).backward()
    silent = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []

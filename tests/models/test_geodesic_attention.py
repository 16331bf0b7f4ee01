from __future__ import annotations

import pytest
import torch

from selfsup_motion.models.motion_decoders.geodesic_attention import GeodesicAttentionDecoder
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.interpolate import point_distances
from selfsup_motion.ops.motion_code import FlowRegression

SIZE = (64, 96)
CHANNELS = {"stem": 8, "layer1": 8, "output": 16}


def decoder(trained: bool = True) -> GeodesicAttentionDecoder:
    torch.manual_seed(0)
    made = GeodesicAttentionDecoder(
        feature_channels=CHANNELS, motion_code=FlowRegression("smooth_l1"), width=8, key_channels=4
    )
    if trained:
        for layer in (made.head, made.query, made.shape):
            torch.nn.init.normal_(layer.weight, std=0.1)
    return made.eval()


def inputs(points: int = 5) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = {
        "stem": torch.randn(2, 8, 32, 48, generator=generator),
        "layer1": torch.randn(2, 8, 16, 24, generator=generator),
        "output": torch.randn(2, 16, 8, 12, generator=generator),
        "rgb": torch.rand(2, 3, *SIZE, generator=generator),
    }
    places = torch.rand(2, points, 2, generator=generator) * torch.tensor([95.0, 63.0])
    return features, places, torch.randn(2, points, 2, generator=generator) * 4


def test_padding_and_the_order_of_points_change_nothing() -> None:
    features, points, vectors = inputs()
    net, mask = decoder(), torch.ones(2, 5, dtype=torch.bool)
    wanted = net(features, points, vectors, mask, SIZE)
    assert wanted.shape == (2, 2, *SIZE)
    padded = [torch.cat([t, torch.full_like(t[:, :2], 50.0)], 1) for t in (points, vectors)]
    longer = torch.cat([mask, torch.zeros(2, 2, dtype=torch.bool)], 1)
    longer[1, 4] = False  # so that some padding is left in the batch
    some = net(features, *padded, longer, SIZE)
    torch.testing.assert_close(some[0], wanted[0], rtol=1e-3, atol=1e-3)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = net(features, points[:, order], vectors[:, order], mask, SIZE)
    torch.testing.assert_close(shuffled, wanted, rtol=1e-3, atol=1e-3)


def test_flow_follows_a_common_shift_and_factor_of_all_vectors() -> None:
    features, points, vectors = inputs()
    net, mask = decoder(), torch.ones(2, 5, dtype=torch.bool)
    flow = net(features, points, vectors, mask, SIZE)
    shift = torch.tensor([7.0, -3.0])
    moved = net(features, points, 5 * vectors + shift, mask, SIZE)
    torch.testing.assert_close(moved, 5 * flow + shift.view(2, 1, 1), rtol=1e-3, atol=1e-3)


def test_before_training_points_of_one_affine_motion_give_that_motion() -> None:
    features, _, _ = inputs()
    net, mask = decoder(trained=False), torch.ones(2, 40, dtype=torch.bool)
    points = torch.rand(2, 40, 2, generator=torch.Generator().manual_seed(2))
    points = points * torch.tensor([95.0, 63.0])
    still = net(features, points, torch.full_like(points, 2.0), mask, SIZE)
    torch.testing.assert_close(still, torch.full_like(still, 2.0))
    zoom = 0.1 * (points - torch.tensor([48.0, 32.0]))
    y, x = torch.meshgrid(torch.arange(64) - 32.0, torch.arange(96) - 48.0, indexing="ij")
    true = 0.1 * torch.stack([x, y])
    error = (net(features, points, zoom, mask, SIZE) - true).norm(dim=1).mean()
    assert error < 0.25 * true.norm(dim=0).mean()


def test_without_points_nothing_moves() -> None:
    features, points, vectors = inputs(3)
    mask = torch.tensor([[False] * 3, [True] * 3])
    flow = decoder()(features, points, vectors, mask, SIZE)
    assert flow[0].abs().max() == 0
    assert flow[1].abs().max() > 0


def test_other_motion_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="motion_code=smooth_l1"):
        GeodesicAttentionDecoder(feature_channels=CHANNELS, motion_code=FlowBins())  # type: ignore[arg-type]


def test_distances_of_a_batch_are_those_of_its_items() -> None:
    generator = torch.Generator().manual_seed(3)
    lab = 50 * torch.rand(3, 3, 9, 12, generator=generator)
    x, y = (torch.randint(0, n, (3, 4), generator=generator) for n in (12, 9))
    together = point_distances(lab, x, y, step_cost=0.2)
    assert together.shape == (3, 4, 9, 12)
    for item in range(3):
        one = slice(item, item + 1)
        alone = point_distances(lab[one], x[one], y[one], step_cost=0.2)
        torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-3)
        assert (together[item, range(4), y[item], x[item]].abs() < 1e-3).all()

from __future__ import annotations

import pytest
import torch

from selfsup_motion.models.motion_decoders.rest_attention import (
    RestAttention,
    RestAttentionDecoder,
)
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.moving_flow import MovingFlow

SIZE = (64, 96)
CHANNELS = {"stem": 8, "layer1": 8, "output": 16}


def decoder() -> RestAttentionDecoder:
    torch.manual_seed(0)
    made = RestAttentionDecoder(
        feature_channels=CHANNELS, motion_code=MovingFlow(), widths=(16, 12, 8), key_channels=4
    )
    torch.nn.init.normal_(made.head.weight, std=0.1)
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
    assert wanted.shape == (2, 3, 32, 48)
    padded = [torch.cat([t, torch.full_like(t[:, :2], 50.0)], 1) for t in (points, vectors)]
    longer = torch.cat([mask, torch.zeros(2, 2, dtype=torch.bool)], 1)
    torch.testing.assert_close(net(features, *padded, longer, SIZE), wanted, rtol=1e-3, atol=1e-3)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = net(features, points[:, order], vectors[:, order], mask, SIZE)
    torch.testing.assert_close(shuffled, wanted, rtol=1e-3, atol=1e-3)


def test_a_lone_arrow_answers_alike_beside_samples_with_more_points() -> None:
    features, points, vectors = inputs()
    net, mask = decoder(), torch.ones(2, 5, dtype=torch.bool)
    mask[0, 1:] = False
    together = net(features, points, vectors, mask, SIZE)[:1]
    first = {name: value[:1] for name, value in features.items()}
    alone = net(first, points[:1, :1], vectors[:1, :1], mask[:1, :1], SIZE)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


def test_the_answer_turns_with_the_arrows_length() -> None:
    features, points, vectors = inputs(1)
    net, mask = decoder(), torch.ones(2, 1, dtype=torch.bool)
    flow = net(features, points, vectors, mask, SIZE)
    assert flow[:, :2].isfinite().all()
    none = net(features, points, vectors, torch.zeros_like(mask), SIZE)
    assert none.isfinite().all()


def test_a_lone_point_does_not_take_every_pixel_along() -> None:
    torch.manual_seed(0)
    attention = RestAttention(6, heads=2, key_channels=4)
    torch.nn.init.constant_(attention.rest.bias, 0.0)
    features = torch.randn(1, 6, 8, 8)
    point, vector = torch.tensor([[[3.0, 3.0]]]), torch.tensor([[[1.0, 0.0]]])
    _, motions, keep = attention(features, point, vector, torch.ones(1, 1).bool(), (16, 16))
    torch.testing.assert_close(motions[0, :, 0], torch.ones(2, 8, 8), rtol=1e-3, atol=1e-3)
    assert keep.max() - keep.min() > 0.2  # likeness and distance decide


def test_another_code_is_refused() -> None:
    with pytest.raises(ValueError, match="motion_code=moving_flow"):
        RestAttentionDecoder(
            feature_channels=CHANNELS,
            motion_code=FlowBins(41, 20.0, "linear"),  # type: ignore[arg-type]
        )


def test_an_encoder_without_early_features_is_refused() -> None:
    with pytest.raises(ValueError, match="strides 2 and 4"):
        RestAttentionDecoder(feature_channels={"output": 8}, motion_code=MovingFlow())


def test_it_learns_which_pixels_a_point_takes_along() -> None:
    torch.manual_seed(0)
    encoder = ResNetEncoder(10, out_channels=16, width=8)
    net = RestAttentionDecoder(
        feature_channels=encoder.feature_channels,
        motion_code=MovingFlow(),
        widths=(16, 12, 8),
        key_channels=4,
    )
    parameters = [*encoder.parameters(), *net.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    image = torch.zeros(4, 3, 64, 64)
    image[:, 0, :, :32] = 1.0
    image[:, 2, :, 32:] = 1.0
    points = torch.tensor([[[10.0, 30.0]], [[50.0, 30.0]], [[20.0, 50.0]], [[40.0, 10.0]]])
    vectors = torch.tensor([[4.0, 0.0]]).expand(4, 1, 2)
    left = torch.tensor([True, False, True, False])
    flow = torch.zeros(4, 2, 64, 64)
    flow[left, 0, :, :32] = 4.0
    flow[~left, 0, :, 32:] = 4.0
    code = MovingFlow()
    losses = []
    for _ in range(25):
        features = {**encoder.forward_features(image - 0.5), "rgb": image}
        mask = torch.ones(4, 1, dtype=torch.bool)
        loss = code.loss(net(features, points, vectors, mask, (64, 64)), flow)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_only_a_lone_point_is_told_in_training_that_it_has_no_rival() -> None:
    torch.manual_seed(0)
    attention = RestAttention(6, heads=2, key_channels=4)
    features, size = torch.randn(2, 6, 8, 8), (64, 64)
    points, vectors = torch.rand(2, 3, 2) * 63, torch.randn(2, 3, 2)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    margins = {
        training: attention.train(training)(features, points, vectors, mask, size)[0].unflatten(
            1, (2, 9)
        )[:, :, 7]
        for training in (True, False)
    }
    assert (margins[True][0] == 1).all()
    assert (margins[False][0] == 0).all()
    torch.testing.assert_close(margins[True][1], margins[False][1])

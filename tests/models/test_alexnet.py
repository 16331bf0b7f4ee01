from __future__ import annotations

import pytest
import torch
from torch import nn

from selfsup_motion.models.alexnet import AlexNetEncoder


@pytest.fixture(scope="module")
def encoder() -> AlexNetEncoder:
    return AlexNetEncoder().eval()


def test_it_has_the_published_size_and_promised_shape(encoder) -> None:
    assert sum(p.numel() for p in encoder.parameters()) == 31_037_760
    with torch.no_grad():
        output = encoder(torch.rand(1, 3, 64, 96))
    assert output.shape == (1, 256, 2, 3)
    assert (encoder.out_channels, encoder.stride) == (256, 32)
    assert encoder.feature_channels == {"output": 256}


def test_the_dense_form_uses_the_same_weights_at_stride_8(encoder) -> None:
    dense = AlexNetEncoder(output_stride=8).eval()
    dense.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        features = dense.forward_features(torch.rand(1, 3, 64, 96))
    assert {k: tuple(v.shape) for k, v in features.items()} == {"output": (1, 256, 8, 12)}
    assert dense.stride == 8


def test_every_convolution_but_the_last_is_normalised(encoder) -> None:
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(convolutions), len(norms)) == (8, 7)
    assert all(c.bias is not None and c.groups == 1 for c in convolutions)


def test_units_are_dropped_in_training_only(encoder) -> None:
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(image), encoder(image))
        encoder.dropout.train()
        assert not torch.equal(encoder(image), encoder(image))
        encoder.eval()


def test_impossible_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="output_stride must be 8 or 32, got 16"):
        AlexNetEncoder(output_stride=16)

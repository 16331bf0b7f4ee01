from __future__ import annotations

import pytest
import torch
import torchvision.models
from torch import nn

from selfsup_motion.models.resnet import ResNetEncoder, published_init_


@pytest.mark.parametrize(
    ("depth", "stride", "channels"), [(10, 8, 512), (18, 16, 512), (34, 32, 512), (50, 8, 2048)]
)
def test_output_has_the_promised_shape(depth, stride, channels):
    encoder = ResNetEncoder(depth, out_channels=24, output_stride=stride).eval()
    assert encoder.conv5.in_channels == channels
    with torch.no_grad():
        features = encoder.forward_features(torch.rand(1, 3, 64, 96))
        output = encoder(torch.rand(1, 3, 64, 96))
    assert output.shape == (1, encoder.out_channels, 64 // encoder.stride, 96 // encoder.stride)
    assert (encoder.out_channels, encoder.stride) == (24, stride)
    assert {name: f.shape[1] for name, f in features.items()} == encoder.feature_channels
    assert features["stem"].shape[2:] == (32, 48)
    assert features["layer1"].shape[2:] == (16, 24)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_state_dict_equals_torchvisions_but_for_the_head(depth):
    ours = {k: v.shape for k, v in ResNetEncoder(depth).state_dict().items()}
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
    theirs = {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")}
    assert {k: v for k, v in ours.items() if not k.startswith("conv5.")} == theirs


@pytest.mark.parametrize("depth", [18, 50])
def test_without_dilation_it_computes_what_torchvision_computes(depth):
    reference = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    encoder = ResNetEncoder(depth, output_stride=32).eval()
    encoder.load_state_dict(reference.state_dict(), strict=False)
    reference.avgpool = reference.fc = nn.Identity()
    encoder.conv5 = nn.Identity()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image).flatten(1), reference(image))


def test_without_projection_the_output_is_the_last_layers():
    encoder = ResNetEncoder(18, out_channels=None).eval()
    assert encoder.out_channels == encoder.feature_channels["output"] == 512
    assert not any(name.startswith("conv5") for name in encoder.state_dict())
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 32, 32)).shape == (1, 512, 4, 4)


@pytest.mark.parametrize("depth", [18, 50])
def test_strides_given_up_become_dilation_of_every_3x3(depth):
    encoder = ResNetEncoder(depth, output_stride=8)
    for layer, dilation in ((encoder.layer2, 1), (encoder.layer3, 2), (encoder.layer4, 4)):
        wide = [m for m in layer.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert {m.dilation for m in wide} == {(dilation, dilation)}
        assert {m.padding for m in wide} == {(dilation, dilation)}


def test_width_scales_the_network():
    slim = sum(p.numel() for p in ResNetEncoder(10, out_channels=64, width=32).parameters())
    full = sum(p.numel() for p in ResNetEncoder(10, out_channels=64, width=64).parameters())
    assert slim < 1.3e6 < full


def test_published_initialisation_makes_output_vanish():
    torch.manual_seed(0)
    encoder = ResNetEncoder(18)
    image = torch.rand(2, 3, 32, 32)
    before = encoder(image).abs().mean()
    published_init_(encoder)
    assert encoder(image).abs().mean() < before / 10
    assert not encoder.conv5.bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 51}, "depth must be one of 10, 18, 34, 50, 101, got 51"),
        ({"output_stride": 4}, "output_stride must be 8, 16 or 32, got 4"),
    ],
)
def test_impossible_encoders_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNetEncoder(**arguments)

"""ResNets without dilation: shapes, padding, what is projected."""

from __future__ import annotations

import pytest
import torch

from selfsup_motion.models.undilated_resnet import UndilatedResNet


@pytest.mark.parametrize("stride", [4, 8])
def test_the_output_is_that_of_layer3_and_layer4_keeps_its_size(stride):
    net = UndilatedResNet(10, 8, stride).eval()
    with torch.no_grad():
        shallow, deep = net(torch.rand(2, 3, 64, 48)), net.forward_deep(torch.rand(2, 3, 64, 48))
    assert (
        shallow.shape
        == (2, net.out_channels, 64 // stride, 48 // stride)
        == (2, 32, *deep.shape[2:])
    )
    assert deep.shape[1] == net.deep_channels == 64
    assert net.stride == stride


def test_layer4_can_be_left_out_and_layer3_projected():
    net = UndilatedResNet(50, 8, layer4=False, out_channels=12).eval()
    assert net.deep_channels is None
    assert not any(name.startswith("layer4") for name in net.state_dict())
    with torch.no_grad():
        out = net(torch.rand(1, 3, 32, 32))
    assert out.shape == (1, 12, 4, 4)
    assert out.min() == 0  # behind a ReLU


def test_reflected_borders_look_like_the_inside():
    """A constant image stays constant up to its border; with zeros, the border shows."""
    spread = {}
    for padding in ("reflect", "zeros"):
        torch.manual_seed(0)
        with torch.no_grad():
            out = UndilatedResNet(10, 8, padding=padding).eval()(torch.ones(1, 3, 64, 64))
        spread[padding] = float(out.std((-2, -1)).max())
    assert spread["reflect"] < 1e-5 < 1e-2 < spread["zeros"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 12}, "depth must be one of 10, 18"),
        ({"output_stride": 16}, "output_stride must be 4 or 8, got 16"),
        ({"padding": "mirror"}, "padding must be reflect or zeros"),
        ({"width": 0}, "at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        UndilatedResNet(**arguments)

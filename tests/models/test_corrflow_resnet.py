"""CorrFlow's encoder in its sizes."""

from __future__ import annotations

import pytest
import torch

from selfsup_motion.models.corrflow_resnet import CorrFlowResNet


def small(**options) -> CorrFlowResNet:
    torch.manual_seed(0)
    return CorrFlowResNet(**{"widths": (8, 16, 16), "blocks": 1, "out_channels": 12, **options})


def test_output_has_a_quarter_of_the_resolution_and_the_declared_channels():
    net = small()
    assert net(torch.rand(2, 3, 32, 48)).shape == (2, net.out_channels, 8, 12)
    assert (net.stride, net.out_channels) == (4, 12)


def test_a_grey_encoder_does_not_see_colours():
    net = small(grey=True).eval()
    image = torch.rand(1, 3, 32, 32)
    luma = (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(net(image), net(luma.expand(-1, 3, -1, -1)))
    coloured = small().eval()
    assert not torch.allclose(coloured(image), coloured(luma.expand(-1, 3, -1, -1)))


def test_features_move_with_the_image():
    net = small().eval()
    image = torch.rand(1, 3, 32, 128)
    a, b = net(image), net(image.roll(8, 3))
    torch.testing.assert_close(a[..., 10:-12], b[..., 12:-10], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{"widths": (8,)}, {"blocks": 0}, {"out_channels": 0}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match="CorrFlowResNet needs"):
        small(**options)

from __future__ import annotations

import pytest
import torch

from selfsup_motion.models.motion_decoders.layers import (
    FlowNetDecoder,
    GuidanceEncoder,
    PropagationDecoder,
    SkipDecoder,
)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_guidance_encoder_reaches_the_image_encoders_stride(stride):
    encoder = GuidanceEncoder(stride=stride)
    assert encoder(torch.rand(2, 4, 64, 96)).shape == (2, 16, 64 // stride, 96 // stride)
    assert count(encoder) == 4000


@pytest.mark.parametrize(
    ("scales", "parameters"),
    [((1,), 487_110), ((1, 2), 974_022), ((1, 2, 4), 1_460_934), ((1, 2, 4, 8), 1_947_846)],
)
def test_decoder_has_the_published_size_and_keeps_resolution(scales, parameters):
    decoder = PropagationDecoder(scales=scales)
    assert count(decoder) == parameters
    assert decoder(torch.rand(2, 272, 9, 10)).shape == (2, 198, 9, 10)


def test_skip_decoder_has_the_published_size_and_ends_at_half_resolution():
    decoder = SkipDecoder()
    assert count(decoder) == 4_479_846
    scores = decoder(
        torch.rand(2, 272, 8, 9), torch.rand(2, 256, 16, 18), torch.rand(2, 64, 32, 36)
    )
    assert scores.shape == (2, 198, 32, 36)


def test_flownet_decoder_has_the_published_size_and_scores_at_four_resolutions():
    decoder = FlowNetDecoder().eval()
    assert count(decoder) == 10_277_062
    with torch.no_grad():
        scores = decoder(
            torch.rand(1, 272, 8, 12),
            torch.rand(1, 256, 16, 24),
            torch.rand(1, 64, 32, 48),
            torch.rand(1, 3, 64, 96),
        )
    shapes = [tuple(s.shape) for s in scores]
    assert shapes == [(1, 198, 64, 96), (1, 198, 32, 48), (1, 198, 16, 24), (1, 198, 8, 12)]


def test_coarse_branches_see_farther():
    """Guidance in one corner moves scores in the opposite one only through pooled branches."""
    torch.manual_seed(0)
    x = torch.zeros(1, 6, 16, 16)
    poked = x.clone()
    poked[..., 0, 0] = 5
    reach = {}
    for scale in (1, 8):
        decoder = PropagationDecoder(6, 10, scales=(scale,), hidden=8).eval()
        reach[scale] = (decoder(poked) - decoder(x))[..., -1, -1].abs().max().item()
    assert reach[1] == 0
    assert reach[8] > 0


@pytest.mark.parametrize("scales", [(), (1, 1), (0, 2)])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be different pooling factors"):
        PropagationDecoder(scales=scales)


def test_features_too_small_for_the_scales_are_refused():
    decoder = PropagationDecoder(8, 10, scales=(1, 8), hidden=4)
    with pytest.raises(ValueError, match="use larger crops, fewer decoder scales"):
        decoder(torch.rand(1, 8, 4, 12))


def test_guidance_stride_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        GuidanceEncoder(stride=6)


def test_a_prepared_image_is_spread_as_the_whole_decoder_does():
    torch.manual_seed(0)
    decoder = SkipDecoder(20, 6, 5, 7).eval()
    image, guidance = torch.randn(2, 16, 16, 24), torch.randn(2, 4, 16, 24)
    layer1, stem = torch.randn(2, 6, 32, 48), torch.randn(2, 5, 64, 96)
    with torch.no_grad():
        wanted = decoder(torch.cat([image, guidance], 1), layer1, stem)
        prepared = decoder.prepare(image, layer1, stem)
        torch.testing.assert_close(decoder.spread(guidance, prepared), wanted)

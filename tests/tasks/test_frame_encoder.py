"""Frames of any size through any encoder."""

import pytest
import torch
from torch import nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import ColorPatches, LabColor
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.color import rgb_to_lab
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.shared_features import features_of


def frames(height=37, width=50):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, height, width), generator=generator, dtype=torch.uint8)


def test_output_has_a_cell_for_every_started_stride():
    encoder = FrameEncoder(ResNetEncoder(10, width=8, out_channels=12))
    assert (encoder.stride, encoder.out_channels) == (8, 12)
    assert encoder(frames()).shape == (1, 12, 5, 7)


def test_layer_is_taken_and_what_follows_is_not_computed():
    network = ResNetEncoder(10, width=8).eval()
    encoder = FrameEncoder(network, "layer1")
    assert (encoder.stride, encoder.out_channels) == (4, 8)
    network.layer2 = nn.Module()  # whose forward would fail
    x = frames(32, 48)
    normalised = (x - encoder.mean) / encoder.std
    stem = torch.relu(network.bn1(network.conv1(normalised)))
    expected = network.layer1(nn.functional.max_pool2d(stem, 3, 2, 1))
    torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused_where_they_are_compared(broken):
    network = ResNetEncoder(10, width=8)
    nn.init.constant_(network.layer4[0].conv1.weight, broken)
    with pytest.raises(UserError, match="features are not finite"):
        features_of(FrameEncoder(network), frames()[0], (37, 50))
    with pytest.raises(UserError, match="features are not finite"):
        ClipFeatures(network)(frames()[None])


def test_reduced_precision_is_close():
    network = ResNetEncoder(10, width=8, out_channels=12)
    exact, reduced = (FrameEncoder(network, None, p)(frames()) for p in ("32", "bf16"))
    assert reduced.dtype == torch.float32
    assert 0 < (exact - reduced).abs().max() < 0.1 * exact.abs().max()


def test_lab_cells_are_means():
    image = frames(8, 12)
    lab = rgb_to_lab(image.float() / 255) / 100
    found = FrameEncoder(LabColor(4))(image)
    torch.testing.assert_close(found[0, :, 1, 2], lab[0, :, 4:8, 8:12].mean((1, 2)))


def test_patches_are_the_colours_around_a_cell():
    image = frames(24, 24)
    lab = rgb_to_lab(image.float() / 255) / 100
    found = FrameEncoder(ColorPatches(4, 12, 3))(image)
    assert found.shape == (1, 27, 6, 6)
    cell = found[0, :, 2, 3].reshape(3, 3, 3)  # samples down, samples across, channel
    # the cell covers rows 8..11 and columns 12..15, its patch rows 4..15 and columns 8..19
    expected = lab[0, :, 4:16, 8:20].reshape(3, 3, 4, 3, 4).mean((2, 4)).permute(1, 2, 0) / 3
    torch.testing.assert_close(cell, expected)


@pytest.mark.parametrize(
    ("encoder", "layer", "expected"),
    [
        (nn.Conv2d(3, 4, 1), None, "Conv2d has no sees, which is needed here: set `sees = "),
        (ResNetEncoder(10, width=8), "layer9", "no layer 'layer9', it has conv1"),
    ],
)
def test_unusable_encoder_is_refused(encoder, layer, expected):
    with pytest.raises((UserError, ValueError), match=expected):
        FrameEncoder(encoder, layer)

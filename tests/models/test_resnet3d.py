"""Encoders of clips: sizes they declare, weights they take, what they refuse."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import video

from selfsup_motion.models.c3d import C3D
from selfsup_motion.models.resnet3d import ResNet3d, factored_channels
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.models.video_networks import TorchvisionVideoEncoder
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.weights.checkpoints import load_encoder

NAMES = ["r3d8", "r2d3d18", "r2p1d10", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "c3d"]


@pytest.mark.parametrize("name", NAMES)
def test_encoders_declare_the_channels_and_strides_that_they_have(name):
    encoder = build(compose([f"encoder={name}"]).encoder, "encoder").to("meta").eval()
    with torch.no_grad():
        out = encoder(torch.empty(2, 3, 16, 64, 64, device="meta"))
    expected = 2, encoder.out_channels, 16 // encoder.time_stride, 64 // encoder.stride
    assert tuple(out.shape[:4]) == expected
    assert len(encoder.input_mean) == len(encoder.input_std) == 3
    assert min(encoder.input_std) > 10  # of RGB in [0, 255]


def test_the_small_network_has_the_size_that_it_is_named_for():
    encoder = build(compose(["encoder=r3d8"]).encoder, "encoder")
    assert isinstance(encoder, SmallResNet3d)
    assert 400_000 < sum(p.numel() for p in encoder.parameters()) < 480_000


def test_c3d_has_the_published_size_and_takes_clips_of_any_length():
    with torch.device("meta"):
        bare = C3D(norm=False)
        assert bare(torch.empty(1, 3, 16, 112, 112)).shape == (1, 512, 2, 7, 7)
        assert C3D()(torch.empty(1, 3, 1, 60, 60)).shape[:3] == (1, 512, 1)
    convolutions = sum(p.numel() for p in bare.parameters())
    # with fc6, fc7 and 101 classes, 78.41 M parameters are published
    dense = (8192 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 101
    assert (convolutions + dense) / 1e6 == pytest.approx(78.41, abs=0.005)
    with pytest.raises(ValueError, match="one entry for each of 8 layers, got 2"):
        C3D(widths=[8, 8])


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "s3d"])
def test_torchvisions_files_load_and_compute_what_they_did(name, tmp_path):
    torch.manual_seed(0)
    theirs = getattr(video, name)(weights=None).eval()
    file = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), file)
    ours = load_encoder(file)
    assert isinstance(ours, TorchvisionVideoEncoder)
    clip = torch.randn(1, 3, 16, 32, 32)
    with torch.no_grad():
        features = ours(clip)
        if name == "s3d":
            expected = theirs.features(clip)
        else:
            expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(theirs.stem(clip)))))
    assert torch.equal(features, expected)


def test_unknown_networks_and_uneven_lists_are_refused():
    with pytest.raises(ValueError, match="choose one of r3d_18"):
        TorchvisionVideoEncoder("r3d_34")
    with pytest.raises(ValueError, match="one entry per stage"):
        ResNet3d(
            kind="2d3d",
            blocks=[1, 1],
            widths=[8],
            strides=[(1, 1)],
            kernel_times=[1],
            stem_time=1,
            stem_pool=False,
        )
    with pytest.raises(ValueError, match="one entry per stage"):
        SmallResNet3d(width=8, widths=[8, 16], strides=[(1, 2)])


def test_factored_convolutions_keep_the_number_of_parameters():
    between = factored_channels(64, 128, (3, 3, 3))
    assert between == 230
    whole, parts = 27 * 64 * 128, 9 * 64 * between + 3 * between * 128
    assert whole - (9 * 64 + 3 * 128) < parts <= whole

"""What CorrFlow is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError
from selfsup_motion.methods.corrflow.view import UNCHANGED, CorrFlowView

DEFAULTS = {
    "crop_size": 32, "short_side": None, "stretch": False, "flip": False,
    "jitter_probability": 1.0, "jitter_per": "frame", "brightness": 0.1, "contrast": 0.1,
    "saturation": 0.1, "hue": 0.1, "train": True,
}  # fmt: skip


def view(**options) -> CorrFlowView:
    return CorrFlowView(**{**DEFAULTS, **options})


def clip(frames: int = 3, height: int = 40, width: int = 60) -> Clip:
    """Pixels that tell where they are, in frames (red) and masks alike."""
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    image = np.stack([x, y, np.zeros_like(x)]).astype(np.uint8)
    return Clip(
        frames=np.stack([image] * frames), key="grid", labels={"masks": np.stack([x] * frames)}
    )


def sample(seed: int = 0, source: Clip | None = None, **options) -> dict[str, torch.Tensor]:
    return view(**options)(source or clip(), np.random.default_rng(seed))


def test_all_frames_and_masks_are_cut_alike_and_masks_come_in_validation_only():
    for options in ({}, {"short_side": 36}, {"stretch": True}, {"crop_size": (24, 44)}):
        assert "masks" not in sample(**options)
        out = sample(train=False, **options)
        assert out["frames"].dtype == torch.uint8
        assert out["masks"].shape == (3, *out["frames"].shape[2:])
        assert (out["frames"] == out["frames"][:1]).all()
        # resized pixels mix their neighbours, masks do not
        assert (out["masks"] - out["frames"][:, 0].long()).abs().max() <= 2


def test_training_crops_differ_and_validation_crops_do_not():
    corners = {int(sample(seed)["frames"][0, 0, 0, 0]) for seed in range(20)}
    assert len(corners) > 5
    assert {int(sample(seed, train=False)["frames"][0, 0, 0, 0]) for seed in range(5)} == {14}


def test_flipping_mirrors_half_of_the_training_clips_only():
    falling = [
        bool(sample(s, flip=True)["frames"][0, 0, 0].int().diff().lt(0).any()) for s in range(60)
    ]
    assert 15 < sum(falling) < 45
    assert not any(
        sample(s, flip=True, train=False)["frames"][0, 0, 0].int().diff().lt(0).any()
        for s in range(9)
    )


def test_small_frames_are_extended_by_their_border():
    out = sample(source=clip(height=20, width=24), train=False)
    assert out["frames"].shape == (3, 3, 32, 32)
    assert (out["frames"][0, 1, :7] == 0).all()
    assert (out["frames"][0, 1, 26:] == 19).all()


def test_jitter_is_shared_by_the_clip_or_of_each_frame():
    per_frame, per_clip = sample()["jitter"], sample(jitter_per="clip")["jitter"]
    assert not torch.equal(per_frame[0], per_frame[1])
    assert torch.equal(per_clip, per_clip[:1].expand(3, 4))
    unchanged = torch.tensor(UNCHANGED).expand(3, 4)
    assert torch.equal(sample(train=False)["jitter"], unchanged)
    shares = [
        not torch.equal(sample(s, jitter_probability=0.3)["jitter"], unchanged) for s in range(200)
    ]
    assert 35 < sum(shares) < 85


def test_the_sample_is_a_function_of_its_rng():
    a, b, c = sample(1), sample(1), sample(2)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert a["dropout_seed"] != c["dropout_seed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop_size": 30}, "multiples of 4"),
        ({"jitter_probability": 1.5}, "jitter_probability"),
        ({"jitter_per": "batch"}, "clip or frame"),
        ({"hue": 0.7}, "hue"),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(UserError, match=words):
        view(**options)


def test_a_single_frame_is_refused_with_its_video():
    with pytest.raises(UserError, match=r"grid has a single one: use videos with data\.length=3"):
        sample(source=clip(frames=1))

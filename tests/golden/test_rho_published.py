"""Losses, codes, momentum and the placing of clips against the authors' code (SlowFast, W-MSE)."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfsup_motion.data.loading.several_clips import SeveralClips
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.methods.parts.contrast import (
    contrast_logits,
    cosine_loss,
    info_nce,
    nt_xent,
    sinkhorn,
)
from selfsup_motion.methods.parts.momentum import rising_momentum
from selfsup_motion.models.slow_resnet import SlowResNet


@pytest.fixture
def reference(golden) -> dict[str, Tensor]:
    arrays = golden("further/slowfast_ssl.npz")
    return {name: torch.from_numpy(np.asarray(x)) for name, x in arrays.items()}


def test_moco(reference):
    arguments = reference["q"], reference["keys"], reference["queue"], 0.1
    torch.testing.assert_close(contrast_logits(*arguments), reference["moco_logits"])
    assert info_nce(*arguments).item() == pytest.approx(float(reference["moco_loss_T01"]), rel=1e-6)


def test_byol(reference):
    loss = cosine_loss(reference["q"], reference["keys"][:1], 0.5)
    assert loss.item() == pytest.approx(float(reference["byol_sim_loss_T05"]), rel=1e-5)


def test_simclr(reference, golden):
    loss = nt_xent(reference["q"], reference["keys"][0], 0.1)
    assert loss.item() == pytest.approx(float(reference["simclr_loss_T01"]), rel=1e-6)
    other = {name: torch.from_numpy(x) for name, x in golden("further/wmse.npz").items()
             if name.startswith("con_x")}  # fmt: skip
    views = (nn.functional.normalize(x, dim=1) for x in other.values())
    loss = float(golden("further/wmse.npz")["con_loss_tau05_norm"])
    assert nt_xent(*views, 0.5).item() == pytest.approx(loss, rel=1e-6)


def test_swav_codes(reference):
    codes = sinkhorn(reference["swav_out"], 0.05, 3)
    torch.testing.assert_close(codes, reference["sinkhorn_codes"], rtol=1e-5, atol=1e-6)


def test_momentum(reference):
    found = [rising_momentum(0.994, epoch / 200) for epoch in (0, 50, 100, 199.5)]
    np.testing.assert_allclose(found, reference["moco_momentum_epochs_0_50_100_199p5"], rtol=1e-9)


def test_clips_without_gaps_lie_where_the_published_draws_put_them(golden):
    class Published:
        """The reference's stream of random numbers, as whole starts."""

        def __init__(self, seed: int) -> None:
            self.random = random.Random(seed)

        def integers(self, starts: int, size: int) -> np.ndarray:
            # the reference draws on [0, L - span], that is starts - 1
            return np.array([int(self.random.random() * (starts - 1)) for _ in range(size)])

    for seed, (frames, clips) in enumerate([(300, 2), (300, 4)]):
        info = VideoInfo("x", frames, None, 8, 8)
        # the reference counts the room of 64 frames from 0 to 300 - 64
        found = SeveralClips(64, clips)(info, Published(seed), 0)
        case = golden("further/slowfast_clips.npz")[f"case{seed}"]
        np.testing.assert_array_equal(found[::64], case[:, 0].astype(int))
        np.testing.assert_array_equal(found[63::64], case[:, 1].astype(int))


def test_published_clips_with_a_gap_are_among_those_that_can_be_drawn(golden):
    (first, end, _), (second, _, gap) = golden("further/slowfast_clips.npz")["case2"].astype(int)
    assert second - end == gap >= 0  # counted from the last frame of one to the first of the other
    sampler = SeveralClips(64, 2, min_gap=gap - 1, max_gap=gap - 1)
    starts = set()
    for seed in range(500):
        found = sampler(VideoInfo("x", 600, None, 8, 8), np.random.default_rng(seed), 0)
        assert found[64] - found[63] == gap
        starts.add((found[0], found[64]))
    assert (first, second) in starts


def test_clips_of_a_short_video_all_begin_at_its_first_frame_as_published(golden):
    case = golden("further/slowfast_clips.npz")["case3"]
    info = VideoInfo("x", 50, None, 8, 8)
    found = SeveralClips(64, 2, short="hold")(info, np.random.default_rng(0), 0)
    assert found[::64] == case[:, 0].astype(int).tolist()
    # what lies behind the end is the last frame, as the reference clamps it
    assert found[:64] == found[64:] == np.minimum(np.arange(64), 49).tolist()


def test_slow_r50_has_the_published_size():
    with torch.device("meta"):
        encoder = SlowResNet()
    # the published network of 400 classes has 32.45 M parameters
    count = sum(p.numel() for p in encoder.parameters())
    assert (count + 2048 * 400 + 400) / 1e6 == pytest.approx(32.45, abs=0.01)

"""Channels are dropped as often and for as many frames as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.channel_dropout import ChannelDropout, draw_channel_gains

SEEDS = torch.arange(50)


def gains(per: str, probability: float = 0.7, step: int = 0) -> torch.Tensor:
    return ChannelDropout(probability, per).gains(SEEDS, 4, np.random.default_rng(step))


def test_the_remaining_channels_make_up_for_the_dropped_ones():
    drawn = [draw_channel_gains(np.random.default_rng(seed), 0.7) for seed in range(2000)]
    assert {tuple(sorted(g)) for g in drawn} == {(1, 1, 1), (0, 1.5, 1.5), (0, 0, 3)}
    assert np.mean([g != [1, 1, 1] for g in drawn]) == pytest.approx(0.7, abs=0.04)
    dropped = np.array(drawn) == 0
    assert dropped.mean(0) == pytest.approx([0.35] * 3, abs=0.04)


def test_draws_are_shared_as_asked():
    batch, clip, frame = gains("batch"), gains("clip"), gains("frame")
    for out in (batch, clip, frame):
        assert out.shape == (50, 4, 3)
    assert (batch == batch[:1, :1]).all()
    assert (clip == clip[:, :1]).all()
    assert not (clip == clip[:1]).all()
    assert not (frame == frame[:, :1]).all()
    assert len({tuple(gains("batch", step=s)[0, 0].tolist()) for s in range(30)}) > 4
    assert torch.equal(gains("clip", step=0), gains("clip", step=1))


def test_never_and_always():
    assert (gains("frame", 0.0) == 1).all()
    assert (gains("frame", 1.0).min(-1).values == 0).all()


@pytest.mark.parametrize("options", [(1.2, "batch"), (0.5, "pixel")])
def test_wrong_settings_are_refused(options):
    with pytest.raises(UserError, match=r"method\.dropout"):
        ChannelDropout(*options)

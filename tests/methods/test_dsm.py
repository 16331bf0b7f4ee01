"""DSM: warps that compose, which views are embedded by whom, and both losses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.several_clips import SeveralClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.dsm import DSM, DSMView
from selfsup_motion.methods.dsm.method import triplets
from selfsup_motion.methods.dsm.warp import draw_warps, warped
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.models.small_resnet3d import SmallResNet3d

CHANGES = ClipChanges(size=24, blur=0.0)


def method(**options) -> DSM:
    torch.manual_seed(0)
    encoder = SmallResNet3d(width=4, widths=[8, 12], strides=[(1, 2), (2, 2)])
    sgd = partial(torch.optim.SGD, lr=0.05)
    return DSM(
        **{"encoder": encoder, "changes": CHANGES, "dim": 8, "queue": 6, "optimizer": sgd,
           **options}
    )  # fmt: skip


def data() -> ClipDataModule:
    view = DSMView(changes=CHANGES, field=32)
    sampler = SeveralClips(4, clips=2, min_gap=0)
    return ClipDataModule(
        source=ToyWorld(100, size=32, num_frames=16),
        val_source=ToyWorld(4, split="val", size=32, num_frames=16),
        sampler=sampler,
        val_sampler=sampler,
        view=view,
        val_view=view,
        batch_size=4,
    )


def test_warps_follow_one_another_and_missing_ones_change_nothing():
    clips = torch.rand(2, 3, 3, 40, 40)
    a, b = torch.tensor([[15, 18, 3, 2]]), torch.tensor([[20, 16, -2, 4]]).abs()
    nothing = torch.tensor([[10, 10, 0, 0]])
    both = torch.stack([torch.cat([a, b, nothing]), torch.cat([nothing, a, nothing])])
    out = warped(clips, both)
    assert torch.equal(out[:1], warped(warped(clips[:1], a[None]), b[None]))
    assert torch.equal(out[1:], warped(clips[1:], a[None]))
    assert not torch.equal(out[1], clips[1])
    for t in range(3):  # all frames alike
        assert torch.equal(out[:, t : t + 1], warped(clips[:, t : t + 1], both))


def test_warps_are_drawn_in_the_published_ranges():
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_warps(rng, 224, 3) for _ in range(300)])
    there = drawn[..., 2] > 0
    assert set(there.sum(1)) == {1, 2, 3}
    assert 60 <= drawn[..., :2].min() < 63
    assert 137 < drawn[..., :2].max() <= 139
    assert set(np.unique(drawn[there][:, 2:])) == set(range(10, 20))
    small = draw_warps(rng, 24, 1)
    assert (small[:, 2:] >= 1).all()


@pytest.mark.parametrize("loss", ["contrast", "triplet"])
def test_it_trains_and_validates(loss):
    model = method(loss=loss)
    before = {name: p.clone() for name, p in model.named_parameters()}
    loop = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, max_steps=2,
        enable_model_summary=False, accelerator="cpu", max_epochs=-1, val_check_interval=2,
        check_val_every_n_epoch=None, num_sanity_val_steps=0,
    )  # fmt: skip
    loop.fit(model, data())
    metrics = {name: float(value) for name, value in loop.callback_metrics.items()}
    assert {"val/motion_first", "val/retrieval", "val/knn"} <= set(metrics)
    assert np.isfinite(metrics["train/loss"])
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("encoder.") for name in changed)
    assert any(name.startswith("target.") for name in changed) == (loss == "contrast")
    if loss == "contrast":
        assert len(model.queue.keys) == 6


def test_only_the_slow_copy_embeds_positives_and_gradients_reach_negatives():
    model = method()
    views = [torch.rand(2, 4, 3, 24, 24) for _ in range(3)]
    model.queue.add(torch.nn.functional.normalize(torch.randn(3, 8), dim=1))
    query, negative = (torch.randn(2, 8, requires_grad=True) for _ in range(2))
    embedded = {0: query, 2: negative}
    (term,) = model.terms(embedded.__getitem__, views, {})
    term.backward()
    assert query.grad.abs().max() > 0
    assert negative.grad.abs().max() > 0
    assert all(p.grad is None for p in model.parameters())


def test_triplets_ask_for_a_margin():
    q = torch.eye(4)
    assert triplets(q, q, -q, 0.5).item() == 0
    far = torch.ones(4, 4)
    one = torch.nn.functional.triplet_margin_loss(q, far, q, margin=0.5)
    other = torch.nn.functional.triplet_margin_loss(q, far, q.flip(0), margin=0.5)
    torch.testing.assert_close(triplets(q, far, q, 0.5), one + other)


def test_the_view_draws_the_anchor_and_refuses_odd_frames():
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 20, 30), np.uint8)
    view = DSMView(changes=CHANGES, field=16)
    firsts = set()
    for seed in range(8):
        sample = view(Clip(frames=pixels, key="v.mp4"), np.random.default_rng(seed))
        assert sample["frames"].shape == (2, 2, 3, 16, 16)
        assert sample["window"].shape == (3, 4)
        firsts.add(int(sample["frames"][0, 0, 0, 0, 0]))
    assert firsts == {0, 2}
    with pytest.raises(UserError, match=r"v.mp4 comes with 3 frames, which are not two clips"):
        view(Clip(frames=pixels[:3], key="v.mp4"), np.random.default_rng(0))
    for options, words in (({"warps": 0}, "view.warps"), ({"field": 4}, "view.field")):
        with pytest.raises(UserError, match=words):
            DSMView(changes=CHANGES, **options)
    for options, words in (({"loss": "x"}, "method.loss=x: choose"),
                           ({"margin": -1.0}, "method.margin")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            method(**options)

"""DenseUlearn trains, its losses have the limits they should have, and views are what they say."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.methods.dense_ulearn import DenseUlearn, DenseUlearnView
from selfsup_motion.methods.dense_ulearn.objective import (
    dense_ulearn_losses,
    grid_cells,
    take,
    zoomed,
)
from selfsup_motion.methods.parts.param_groups import fast_biases
from selfsup_motion.models.pyramid_encoder import PyramidEncoder

EASY = Difficulty(num_sprites=(1, 1), puppet=0.0, object_size=(0.4, 0.6))
PLAIN = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
"""The zoomed view is the plain one."""


def method(**options) -> DenseUlearn:
    torch.manual_seed(0)
    encoder = PyramidEncoder(widths=(8, 12, 16), blocks=1, out_channels=16)
    return DenseUlearn(
        **{
            "encoder": encoder,
            "anchors": 4,
            "cross_cells": 2,
            "val_radius": 3,
            "optimizer": partial(torch.optim.AdamW, lr=3e-3),
            **options,
        }
    )


def test_training_improves_and_metrics_stand_beside_the_baselines():
    model = method()
    datamodule = ClipDataModule(
        source=ToyWorld(10_000, size=48, difficulty=EASY),
        val_source=ToyWorld(4, split="val", size=48, difficulty=EASY),
        sampler=RandomClips(3, strides=[1, 2]),
        val_sampler=UniformClips(4),
        view=DenseUlearnView(crop_size=48, short_side=None),
        val_view=DenseUlearnView(crop_size=48, short_side=None, train=False),
        batch_size=3,
    )
    quiet = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu",
    }  # fmt: skip
    before = pl.Trainer(**quiet, inference_mode=False).validate(model, datamodule, verbose=False)[0]
    trainer = pl.Trainer(
        **quiet, max_steps=40, max_epochs=-1, val_check_interval=40, check_val_every_n_epoch=None
    )
    trainer.fit(model, datamodule)
    after = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert after["val/loss"] < before["val/loss"] - 0.2
    columns, rows = model.report(after | {"untrained/j": before["val/j"]})
    assert [row[0] for row in rows] == [
        "nothing moves", "raw Lab colour", "patches of Lab colours", "untrained network",
        "DenseUlearn network",
    ]  # fmt: skip
    assert all(len(row) == len(columns) for row in rows)
    batch = next(iter(datamodule.val_dataloader()))
    assert model.figures(batch)["clips"].ndim == 3


def test_without_temperature_nothing_is_known():
    features = F.normalize(torch.randn(3, 4, 8, 8, 8), dim=2)
    offset = torch.rand(3, 2)
    losses = dense_ulearn_losses(
        features[:, :3], features[:, 3], features[:, 1:3], PLAIN.expand(3, -1), offset, offset,
        anchors=4, cross_cells=2, temperature=1e6,
    )  # fmt: skip
    assert losses.temporal.item() == pytest.approx(math.log(3 * 16), abs=1e-4)
    assert losses.cross_view.item() == pytest.approx(math.log(3 * 4), abs=1e-4)


def test_equal_views_of_still_clips_agree():
    """Each cell is nearest to the anchor that it was assigned to: a still clip costs nothing."""
    features = F.normalize(torch.randn(2, 1, 64, 8, 8), dim=2).expand(-1, 3, -1, -1, -1)
    offset = torch.rand(2, 2)
    losses = dense_ulearn_losses(
        features, features[:, 0], features[:, 1:], PLAIN.expand(2, -1), offset, offset,
        anchors=8, cross_cells=2, temperature=0.01,
    )  # fmt: skip
    assert losses.temporal < 1e-3
    assert losses.cross_view < 1e-3


def test_alone_a_clip_costs_the_same_whatever_it_is_with():
    features = F.normalize(torch.randn(3, 4, 8, 8, 8), dim=2)
    offset, zoom = torch.rand(3, 2), torch.tensor([[0.7, -1.0, 0.1, 0.2]]).expand(3, -1)
    parts = (features[:, :3], features[:, 3], features[:, 1:3], zoom, offset, offset)
    sizes = {"anchors": 4, "cross_cells": 2}
    together = dense_ulearn_losses(*parts, **sizes, alone=True)
    single = [dense_ulearn_losses(*(p[i : i + 1] for p in parts), **sizes) for i in range(3)]
    for name in ("temporal", "cross_view"):
        mean = torch.stack([getattr(losses, name) for losses in single]).mean()
        torch.testing.assert_close(getattr(together, name), mean)


@settings(deadline=None, max_examples=25)
@given(
    scale=st.floats(0.5, 1), flip=st.sampled_from([-1.0, 1.0]),
    x=st.floats(-1, 1), y=st.floats(-1, 1),
)  # fmt: skip
def test_a_zoomed_window_shows_what_was_there(scale, flip, x, y):
    """On a ramp, the middle of the window has the value of its place in the mirrored frame."""
    x, y = x * (1 - scale), y * (1 - scale)
    columns = torch.linspace(-1 + 1 / 32, 1 - 1 / 32, 32).expand(32, 32)
    frames = torch.stack([columns, columns.T])[None, None]
    zoom = torch.tensor([[scale, flip, x, y]], dtype=torch.float32)
    window = zoomed(frames, zoom)[0, 0, :, 15:17, 15:17].mean((1, 2))
    assert window.tolist() == pytest.approx([flip * x, y], abs=2e-5)


@given(st.integers(0, 99), st.integers(1, 8))
def test_grids_stay_inside_and_move_together(seed, grid):
    offset = torch.from_numpy(np.random.default_rng(seed).random((2, 2), dtype=np.float32))
    cells = grid_cells(offset, grid, (9, 11))
    assert cells.min() >= 0
    assert cells.max() < 99
    assert len(cells[0].unique()) == grid**2
    ramp = torch.arange(99.0).view(1, 1, 9, 11).expand(2, -1, -1, -1)
    assert take(ramp, cells).squeeze(2).equal(cells.float())


def test_biases_learn_twice_as_fast_and_do_not_decay():
    optimizer = fast_biases(partial(torch.optim.SGD, lr=0.1, weight_decay=0.5), method().encoder)
    others, biases = optimizer.param_groups
    assert (others["lr"], others["weight_decay"]) == (0.1, 0.5)
    assert (biases["lr"], biases["weight_decay"]) == (0.2, 0.0)
    assert all(p.ndim == 1 for p in biases["params"])


def clip(length: int = 3, size: tuple[int, int] = (40, 60)) -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (length, 3, *size), dtype=np.uint8)
    masks = np.zeros((length, *size), np.uint8)
    masks[:, 10:30, 20:40] = 7
    return Clip(frames=frames, labels={"masks": masks}, key="clip")


def test_views_have_the_shapes_they_promise():
    view = DenseUlearnView(crop_size=32, short_side=(24, 48))
    for seed in range(20):
        sample = view(clip(), np.random.default_rng(seed))
        assert sample["frames"].shape == (3, 3, 32, 32)
        scale, flip, x, y = sample["zoom"].tolist()
        assert 0.5 <= scale <= 1
        assert abs(flip) == 1
        assert max(abs(x), abs(y)) <= 1 - scale + 1e-6
        assert "masks" not in sample
    val = DenseUlearnView(crop_size=32, short_side=(40, 40), train=False)
    sample = val(clip(), np.random.default_rng(0))
    assert sample["frames"].equal(torch.from_numpy(clip().frames[:, :, 4:36, 14:46]))
    assert sample["masks"].unique().tolist() == [0, 7]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop_size": 4}, "view.crop_size"),
        ({"short_side": (40, 30)}, "smaller first"),
        ({"zoom": (0.5, 1.5)}, "view.zoom"),
    ],
)
def test_views_refuse_what_they_cannot_do(options, words):
    with pytest.raises(UserError, match=words):
        DenseUlearnView(**options)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="single one"):
        DenseUlearnView(crop_size=32)(clip(1), np.random.default_rng(0))
    sample = DenseUlearnView(crop_size=32, short_side=None)(clip(), np.random.default_rng(0))
    batch = {name: value[None] for name, value in sample.items()}
    with pytest.raises(UserError, match=r"too few for method\.anchors=9"):
        method(anchors=9).losses(batch)
    with pytest.raises(UserError, match="anchors"):
        method(anchors=0)


def test_drawn_strides_are_those_that_fit():
    def info(frames: int) -> VideoInfo:
        return VideoInfo(key="video", num_frames=frames, fps=None, height=8, width=8)

    sampler = RandomClips(3, strides=[8, 2, 4])
    drawn = [sampler(info(100), np.random.default_rng(seed), 0) for seed in range(60)]
    assert {b - a for a, b, _ in drawn} == {2, 4, 8}
    assert all(c - b == b - a for a, b, c in drawn)
    short = [sampler(info(9), np.random.default_rng(seed), 0) for seed in range(30)]
    assert {b - a for a, b, _ in short} == {2, 4}
    with pytest.raises(ClipReadError):
        sampler(info(4), np.random.default_rng(0), 0)
    with pytest.raises(UserError, match="strides"):
        RandomClips(3, strides=[0])

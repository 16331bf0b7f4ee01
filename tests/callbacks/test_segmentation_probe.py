"""`callbacks=probe`: a number that means something, and a training that does not notice it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfsup_motion.callbacks.segmentation_probe import SegmentationProbe
from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.source import Source
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.segmentation.linear_probe import labelled_images, probe_iou

SMALL = ("callbacks.probe.images=4", "callbacks.probe.test_images=3")


class Noisy(pl.LightningModule):
    """Training that uses batch statistics and random numbers."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = encoder
        self.modes: list[bool] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.modes.append(all(m.training for m in self.modules()))
        features = self.encoder(batch + torch.randn_like(batch) * float(np.random.rand()))  # noqa: NPY002
        return features.square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.encoder(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def small_encoder() -> ResNetEncoder:
    torch.manual_seed(0)
    return ResNetEncoder(10, width=4, out_channels=8)


def probe(*overrides: str) -> SegmentationProbe:
    cfg = compose(["experiment=cmp", "callbacks=probe", *SMALL, *overrides])
    check_config(cfg)
    made: SegmentationProbe = build(cfg.callbacks.probe, "callbacks.probe")
    return made


def fit(encoder: nn.Module, *callbacks: pl.Callback, steps: int = 4) -> Any:
    module = Noisy(encoder).train()
    trainer = pl.Trainer(
        max_steps=steps, val_check_interval=2, check_val_every_n_epoch=None, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), num_sanity_val_steps=0,
    )  # fmt: skip
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    pl.seed_everything(3, verbose=False)
    trainer.fit(module, DataLoader(images, batch_size=2), DataLoader(images[:2], batch_size=2))
    return module, trainer


def test_training_is_the_same_with_and_without_it():
    plain, _ = fit(small_encoder())
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    probed, trainer = fit(small_encoder(), probe())
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    theirs = probed.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in plain.state_dict().items())
    assert probed.modes == plain.modes == [True] * 4
    assert not any(m._forward_hooks for m in probed.modules())
    assert 0 < float(trainer.callback_metrics["val/probe_miou"]) < 1


def test_what_is_logged_is_the_probe_of_these_weights():
    module, trainer = fit(small_encoder(), probe())
    worlds = [
        ToyWorld(count, split=split, size=128, difficulty=probe().source.difficulty)
        for count, split in ((4, "train"), (3, "val"))
    ]
    sets = [labelled_images(world, "semantic", len(world), None) for world in worlds]
    encoder = FrameEncoder(module.encoder.eval())
    iou = probe_iou(encoder, *sets, 8, cells=64, penalty=1e-5, steps=50)
    assert float(trainer.callback_metrics["val/probe_miou"]) == pytest.approx(iou.nanmean().item())


def test_it_is_computed_at_some_validations_and_at_the_last(monkeypatch):
    calls = []
    monkeypatch.setattr(
        SegmentationProbe, "_miou", lambda self, module: calls.append(module.global_step) or 0.5
    )
    fit(small_encoder(), probe("callbacks.probe.every_n_validations=2"), steps=6)
    assert calls == [4, 6]


class Layout(nn.Module):
    """Features of cells of 4 pixels: the label itself, or noise."""

    input_mean, input_std, sees = (0.0,) * 3, (1.0,) * 3, "image"

    def __init__(self, informed: bool) -> None:
        super().__init__()
        self.informed = informed

    def forward(self, x: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(x, 4)
        generator = torch.Generator().manual_seed(0)
        return cells if self.informed else torch.randn(cells.shape, generator=generator)


def squares(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(count)
    made = []
    for _ in range(count):
        labels = np.zeros((32, 48), np.uint8)
        top, left = 4 * rng.integers(0, 5), 4 * rng.integers(0, 8)
        labels[top : top + 12, left : left + 16] = 1
        image = np.stack([labels * 200] * 3)
        labels[0] = VOID
        made.append((image, labels))
    return made


def test_features_that_know_the_answer_score_and_noise_does_not():
    options = {"cells": 96, "penalty": 1e-5, "steps": 50}
    scores = {}
    for informed in (True, False):
        encode = FrameEncoder(Layout(informed))
        scores[informed] = probe_iou(encode, squares(6), squares(4), 2, **options)
    assert scores[True].min() > 0.75, "all but the rims of bilinear enlargement"
    assert scores[False][1] < 0.3


def test_encoders_of_clips_and_unknown_layers_are_refused_before_training():
    clips = SmallResNet3d(width=4, widths=[8], strides=[(1, 2)])
    with pytest.raises(UserError, match="callbacks=probe needs an encoder of images"):
        fit(clips, probe())
    with pytest.raises(UserError, match=r"callbacks.probe: ResNetEncoder has no layer 'fc7'"):
        fit(small_encoder(), probe("callbacks.probe.layer=fc7"))


@pytest.mark.parametrize("name", ["images", "test_images", "cells", "steps", "every_n_validations"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(UserError, match=rf"callbacks.probe.{name}=0: expected at least 1"):
        probe(f"callbacks.probe.{name}=0")


def test_a_folder_of_voc_can_be_probed_on(shared):
    root = shared / "data" / "voc"
    cfg = compose(
        [
            "experiment=cmp", "callbacks=probe_voc2012", *SMALL, "callbacks.probe.short_side=64",
            f"callbacks.probe.source.root={root}", "callbacks.probe.source.listing=null",
            "callbacks.probe.test_source.listing=null",
        ]
    )  # fmt: skip
    check_config(cfg)
    made = build(cfg.callbacks.probe, "callbacks.probe")
    _, trainer = fit(small_encoder(), made, steps=2)
    assert 0 < float(trainer.callback_metrics["val/probe_miou"]) <= 1


class Damaged(Source):
    """Images of a source, some of which cannot be read."""

    def __init__(self, source: Any, bad: set[int]) -> None:
        self.source, self.bad = source, bad

    def __len__(self) -> int:
        return len(self.source)

    def info(self, index: int) -> Any:
        return self.source.info(index)

    def read(self, index: int, frame_indices: Any) -> Any:
        if index in self.bad:
            raise ClipReadError(f"{index}.png is damaged.", file=f"{index}.png")
        return self.source.read(index, frame_indices)


def test_damaged_images_are_left_out(caplog):
    world = ToyWorld(3, size=32, num_frames=1)
    found = list(labelled_images(Damaged(world, {1}), "semantic", 3, None))
    assert [image.mean() for image, _ in found] == [
        image.mean()
        for i, (image, _) in enumerate(labelled_images(world, "semantic", 3, None))
        if i != 1
    ]
    assert caplog.messages == ["Left out of the probe: 1.png is damaged."]
    with pytest.raises(UserError, match=r"None of the 3 probe videos can be used: 0\.png is"):
        list(labelled_images(Damaged(world, {0, 1, 2}), "semantic", 3, None))

"""The ρ-methods: forms with the same gradients, targets, queues, and views without surprises."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.several_clips import SeveralClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.views_method import ViewsMethod
from selfsup_motion.methods.rho import RhoBYOL, RhoMoCo, RhoSimCLR, RhoSwAV, RhoView
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.models.small_resnet3d import SmallResNet3d

METHODS = {
    "moco": partial(RhoMoCo, queue=20),
    "byol": partial(RhoBYOL),
    "simclr": partial(RhoSimCLR),
    "swav": partial(RhoSwAV, prototypes=6),
}
DEFAULT = [
    pytest.param(name, marks=[] if name in ("moco", "simclr") else pytest.mark.slow)
    for name in METHODS
]
CHANGES = ClipChanges(size=24, blur=0.0)
QUIET = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "accelerator": "cpu", "max_epochs": -1,
    "check_val_every_n_epoch": None, "num_sanity_val_steps": 0,
}  # fmt: skip


def method(name: str, images: bool = False, **options) -> ViewsMethod:
    torch.manual_seed(0)
    encoder: nn.Module = SmallResNet3d(width=4, widths=[8, 12], strides=[(1, 2), (2, 2)])
    if images:
        encoder = ResNetEncoder(10, out_channels=None, output_stride=32, width=4)
    sgd = partial(torch.optim.SGD, lr=0.05)
    return METHODS[name](
        **{"encoder": encoder, "changes": CHANGES, "dim": 8, "hidden": 16, "optimizer": sgd,
           **options}
    )  # fmt: skip


def data(clips: int = 2, repeats: int = 1, length: int = 4, **options) -> ClipDataModule:
    view = RhoView(changes=CHANGES, clips=clips, repeats=repeats, field=32)
    return ClipDataModule(
        **{
            "source": ToyWorld(1000, size=32, num_frames=16),
            "val_source": ToyWorld(6, split="val", size=32, num_frames=16),
            "sampler": SeveralClips(length, clips=clips),
            "val_sampler": SeveralClips(length, clips=clips),
            "view": view,
            "val_view": view,
            "batch_size": 4,
            **options,
        }
    )


def statistics_off(module: nn.Module) -> nn.Module:
    """Normalise by running statistics: batches of one view and of all then give the same."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
    return module


class Record(pl.Callback):
    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, *_) -> None:
        statistics_off(pl_module)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.gradients.append(
            {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        )

    def on_train_batch_end(self, trainer, *_) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


@pytest.mark.parametrize("name", DEFAULT)
def test_sequential_and_joint_forms_have_the_same_losses_and_gradients(name):
    runs = []
    for sequential in (False, True):
        record = Record()
        loop = pl.Trainer(**QUIET, max_steps=1, callbacks=[record], limit_val_batches=0,
                          accumulate_grad_batches=2, gradient_clip_val=0.5)  # fmt: skip
        loop.fit(method(name, sequential=sequential), data(clips=3))
        runs.append(record)
    joint, one_by_one = runs
    assert joint.losses == pytest.approx(one_by_one.losses, rel=1e-4)
    for a, b in zip(joint.gradients, one_by_one.gradients, strict=True):
        assert a.keys() == b.keys()
        assert any(g.abs().max() > 1e-4 for g in a.values())
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", DEFAULT)
def test_one_clip_of_single_frames_is_the_image_method(name):
    model = method(name, images=True)
    loop = pl.Trainer(**QUIET, max_steps=1, val_check_interval=1)
    loop.fit(model, data(clips=1, repeats=2, length=1))
    metrics = {key: float(value) for key, value in loop.callback_metrics.items()}
    assert np.isfinite(metrics["train/loss"])
    assert {"val/retrieval", "val/alignment", "val/uniformity", "val/knn"} <= set(metrics)
    _, rows = model.report(metrics)
    assert rows[-1][0] == f"{type(model).__name__} network"
    assert len(rows[-1]) == 3


def test_the_loss_of_each_view_is_about_the_others():
    model = method("moco")
    views = [torch.rand(2, 4, 3, 24, 24) for _ in range(3)]
    model.queue.add(torch.nn.functional.normalize(torch.randn(5, 8), dim=1))
    with torch.no_grad():
        statistics_off(model)
        embedded = [model.embed(view) for view in views]
        terms = list(model.terms(embedded.__getitem__, views, {}))
        keys = model.keys(views)
    assert len(terms) == model.term_count(3) == 3
    torch.testing.assert_close(keys[1], embedded[1])  # the copy has not moved yet
    rows = []
    for j in (0, 2):
        for n in range(2):
            right = (embedded[1][n] * keys[j, n]).sum() / 0.1
            wrong = model.queue.keys @ embedded[1][n] / 0.1
            rows.append(torch.logsumexp(torch.cat([right[None], wrong]), 0) - right)
    torch.testing.assert_close(terms[1], torch.stack(rows).mean())


def test_keys_enter_the_queue_sample_by_sample_and_the_copy_moves_once_a_step():
    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            came.append(len(pl_module.queue.keys))
            moved.append(pl_module.target.encoder.stem[0].weight.clone())

    came: list[int] = []
    moved: list[Tensor] = []
    model = method("moco", momentum=0.5, momentum_rises=False)
    moved.append(model.target.encoder.stem[0].weight.clone())
    loop = pl.Trainer(**QUIET, max_steps=2, accumulate_grad_batches=2, limit_val_batches=0,
                      callbacks=[Look()])  # fmt: skip
    loop.fit(model, data(batch_size=4))
    assert came == [4, 8, 12, 16]
    assert [torch.equal(a, b) for a, b in pairwise(moved)] == [
        True, False, True, False
    ]  # fmt: skip


def test_prototypes_have_length_one_and_wait():
    model = method("swav", frozen_steps=1)
    before = nn.functional.normalize(model.prototypes.weight.detach(), dim=1)
    for steps, same in ((1, True), (2, False)):
        loop = pl.Trainer(**QUIET, max_steps=steps, limit_val_batches=0)
        loop.fit(method_ := method("swav", frozen_steps=1), data())
        assert torch.allclose(method_.prototypes.weight, before) == same


class SaveAt(pl.Callback):
    """Saves when our checkpoint callback does."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("name", ["moco", pytest.param("byol", marks=pytest.mark.slow)])
def test_a_resumed_run_equals_one_that_was_not_stopped(name, tmp_path):
    whole, rest = method(name, momentum=0.9), method(name, momentum=0.9)
    quiet = {**QUIET, "limit_val_batches": 0, "max_steps": 3}
    saving = SaveAt(2, tmp_path / "x.ckpt")
    pl.Trainer(**quiet, callbacks=[saving]).fit(whole, data())
    pl.Trainer(**quiet).fit(rest, data(), ckpt_path=tmp_path / "x.ckpt")
    assert set(whole.state_dict()) == set(rest.state_dict())
    for key, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[key]), key
    if name == "moco":
        assert len(rest.queue.keys) == 20
        assert torch.equal(whole.queue.keys, rest.queue.keys)


def some_clip(frames: int, height: int = 20, width: int = 40) -> Clip:
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 3, height, width))
    return Clip(frames=pixels.astype(np.uint8), key="v.mp4", labels={"action": np.array(2)})


def test_views_have_fixed_shapes_and_the_same_generator_gives_the_same_sample():
    view = RhoView(changes=CHANGES, clips=2, repeats=2, field=16)
    first, again, other = (view(some_clip(6), np.random.default_rng(s)) for s in (0, 0, 1))
    shapes = {name: tuple(x.shape) for name, x in first.items()}
    assert shapes == {
        "frames": (2, 3, 3, 16, 16), "window": (4, 4), "angle": (4,), "aspect": (4,),
        "mirrored": (4,), "color": (4, 4), "blur": (4,), "action": (),
    }  # fmt: skip
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["window"], other["window"])
    pixels = first["window"] * torch.tensor([20, 40, 20, 40])
    share = pixels[:, 2] * pixels[:, 3] / 800
    assert ((share > 0.17) & (share < 0.8)).all()
    assert first["aspect"].eq(2).all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match=r"view.clips=1 gives a single view"):
        RhoView(changes=CHANGES, clips=1)
    with pytest.raises(UserError, match=r"v.mp4 comes with 5 frames, which are not 2 clips"):
        RhoView(changes=CHANGES, clips=2)(some_clip(5), np.random.default_rng(0))
    for options, words in (
        ({"temperature": 0.0}, "method.temperature=0.0"),
        ({"queue": 0}, "method.queue must be at least 1"),
        ({"momentum": 1.5}, "method.momentum=1.5"),
        ({"val_neighbours": 0}, "method.val_neighbours must be at least 1"),
    ):
        with pytest.raises(UserError, match=words):
            method("moco", **options)
    for options, words in (({"prototypes": 1}, "prototypes must be at least 2"),
                           ({"epsilon": 0.0}, "method.epsilon=0.0")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            method("swav", **options)
    loop = pl.Trainer(**QUIET, max_steps=1, limit_val_batches=0)
    with pytest.raises(UserError, match=r"method.queue=4 is too small for the 8 keys of a step"):
        loop.fit(method("moco", queue=4), data())


def test_half_precision_trains():
    loop = pl.Trainer(**QUIET, max_steps=1, limit_val_batches=0, precision="bf16-mixed")
    loop.fit(method("moco", sequential=True), data())
    assert torch.isfinite(loop.callback_metrics["train/loss"])

"""W-MSE: sets that the samples decide about, precision, and batches that cannot be whitened."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from selfsup_motion.data.loading.several_clips import SeveralClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.whitening import whiten
from selfsup_motion.methods.wmse import WMSE, WMSEView
from selfsup_motion.models.resnet import ResNetEncoder

CHANGES = ClipChanges(size=24, blur=0.0)


def method(**options) -> WMSE:
    torch.manual_seed(0)
    encoder = ResNetEncoder(10, out_channels=None, output_stride=32, width=4)
    return WMSE(
        **{"encoder": encoder, "changes": CHANGES, "dim": 3, "whitening": 6, "hidden": 16,
           "optimizer": partial(torch.optim.SGD, lr=0.01), **options}
    )  # fmt: skip


def fit(model: WMSE, batch_size: int = 12, **options) -> pl.Trainer:
    view = WMSEView(changes=CHANGES, clips=1, repeats=2, field=32, iterations=2)
    data = ClipDataModule(
        source=ToyWorld(100, size=32),
        val_source=ToyWorld(6, split="val", size=32),
        sampler=SeveralClips(1, clips=1),
        val_sampler=SeveralClips(1, clips=1),
        view=view,
        val_view=view,
        batch_size=batch_size,
    )
    loop = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, max_steps=1,
        enable_model_summary=False, accelerator="cpu", max_epochs=-1, val_check_interval=1,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, **options,
    )  # fmt: skip
    loop.fit(model, data)
    return loop


def test_whitened_vectors_have_unit_covariance_in_half_precision_too():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(5) + 0.3 * torch.randn(5, 5, generator=generator)
    x = torch.randn(2, 40, 5, generator=generator) @ mixing
    with torch.autocast("cpu", torch.bfloat16):
        white = whiten(x, 0.0)
    assert white.dtype == torch.float32
    covariance = white.mT @ white / 39
    torch.testing.assert_close(covariance, torch.eye(5).expand(2, 5, 5), atol=1e-4, rtol=0)
    half = whiten(x.bfloat16(), 0.0)
    assert half.dtype == torch.float32


def test_sets_depend_on_the_samples_and_not_on_their_places():
    model = method().eval()
    views = [torch.rand(12, 1, 3, 24, 24) for _ in range(2)]
    order = torch.rand(12, 2)
    shuffle = torch.randperm(12)
    found = []
    for place in (torch.arange(12), shuffle):
        shown = [view[place] for view in views]
        embedded = [model.embed(view) for view in shown]
        found += list(model.terms(embedded.__getitem__, shown, {"order": order[place]}))
    torch.testing.assert_close(found[0], found[1])


def test_it_trains_on_stills_in_half_precision():
    loop = fit(method(), precision="bf16-mixed")
    assert torch.isfinite(loop.callback_metrics["train/loss"])
    assert "val/retrieval" in loop.callback_metrics


def test_what_cannot_be_whitened_is_refused():
    with pytest.raises(UserError, match=r"method.whitening=3 samples do not span the method.dim=3"):
        method(whitening=3)
    with pytest.raises(UserError, match=r"method.epsilon=1"):
        method(epsilon=1.0)
    with pytest.raises(UserError, match=r"A step compares 8 samples .* not sets of .*whitening=6"):
        fit(method(), batch_size=8)
    collapsed = method(norm=False)
    nn.init.zeros_(collapsed.head[-1].weight)
    loop = fit(collapsed)  # equal embeddings: the identity that is mixed in saves the step
    assert collapsed.retries == 2
    assert loop.callback_metrics["train/cholesky_retries"] == 2
    nn.init.constant_(collapsed.head[-1].weight, torch.nan)
    with pytest.raises(UserError, match="cannot be whitened: they have collapsed or are not finit"):
        fit(collapsed)


def test_batches_that_make_no_sets_are_told_before_anything_is_computed():
    model = method()
    sizes = SimpleNamespace(batch_size=2 * model.whitening)
    model._trainer = SimpleNamespace(datamodule=sizes, accumulate_grad_batches=2)
    model.setup("fit")
    model._trainer.accumulate_grad_batches = 4
    with pytest.raises(UserError, match=r"not sets of .*whitening"):
        model.setup("fit")

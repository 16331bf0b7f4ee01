"""`callbacks.untrained`: the network before training, measured without touching the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from selfsup_motion.callbacks.checkpointing import Provenance
from selfsup_motion.callbacks.untrained import Untrained, untrained_metrics
from selfsup_motion.methods.parts.validation import is_partial

QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": -1,
    "enable_progress_bar": False, "enable_model_summary": False, "check_val_every_n_epoch": None,
}  # fmt: skip
DATA = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))


class Regression(pl.LightningModule):
    """Dropout, so that random numbers matter; a metric without a value."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.error = MeanMetric()
        self.partial: list[bool] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.net(batch) - batch.sum(1, keepdim=True)).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.error.update((self.net(batch) - batch.sum(1, keepdim=True)).square())

    def on_validation_epoch_end(self) -> None:
        self.log("val/error", self.error.compute())
        self.log("val/nothing", torch.tensor(float("nan")))
        self.error.reset()
        self.partial.append(is_partial(self.trainer))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(*callbacks: pl.Callback, ckpt: Path | None = None, **options: Any) -> Any:
    module = Regression()
    trainer = pl.Trainer(**{**QUIET, "max_steps": 4, "val_check_interval": 2, **options},
                         callbacks=list(callbacks))  # fmt: skip
    pl.seed_everything(1, verbose=False)
    loaders = DataLoader(DATA, batch_size=3), DataLoader(DATA, batch_size=3)
    trainer.fit(module, *loaders, ckpt_path=ckpt, weights_only=True)
    return module, trainer


def provenance(source: str) -> Provenance:
    return Provenance({"config": {"data": {"module": {"val_source": source}}}})


def test_the_whole_validation_of_the_initial_weights_is_kept():
    first = Regression().eval()
    with torch.no_grad():
        expected = float((first.net(DATA) - DATA.sum(1, keepdim=True)).square().mean())
    module, trainer = fit(Untrained())
    assert untrained_metrics(trainer) == {"val/error": pytest.approx(expected, rel=1e-5)}
    assert float(trainer.callback_metrics["val/error"]) != pytest.approx(expected)
    assert module.partial == [False, False, False]


def test_training_is_the_same_with_and_without_it():
    plain, without = fit()
    measured, _ = fit(Untrained())
    assert untrained_metrics(without) == {}
    ours, theirs = measured.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_few_batches_that_are_tried_before_training_are_no_measurement():
    module, _ = fit(num_sanity_val_steps=2)
    assert module.partial == [True, False, False]


def test_a_resumed_run_keeps_what_was_measured_at_its_beginning(tmp_path):
    _, trainer = fit(Untrained(), provenance("a"), max_steps=2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    module, resumed = fit(Untrained(), provenance("a"), ckpt=tmp_path / "a.ckpt")
    assert untrained_metrics(resumed) == untrained_metrics(trainer) != {}
    assert len(module.partial) == 1  # none before its first step
    _, other = fit(Untrained(), provenance("b"), ckpt=tmp_path / "a.ckpt")
    assert untrained_metrics(other) == {}


def test_no_validation_no_measurement():
    assert untrained_metrics(fit(Untrained(), limit_val_batches=0)[1]) == {}
    assert untrained_metrics(fit(Untrained(), fast_dev_run=True)[1]) == {}

"""A LightningModule that knows nothing of ours trains like any other."""

from __future__ import annotations

import json

import pytorch_lightning as pl
import torch
from tiny import PlainMethod, TinyData

from selfsup_motion.training.report import model_line


def test_it_trains_by_the_command_and_its_metrics_are_told(main, folder, capsys):
    assert main("experiment=plain", "logger=csv") == 0
    told = capsys.readouterr().out
    (run,) = (folder / "outputs/train/plain").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["finished"]
    assert (run / "checkpoints/best.ckpt").is_file()
    assert not (run / "figures").exists()
    assert "No features are watched: PlainMethod has no encoder." in (run / "train.log").read_text()
    (row,) = [line.split() for line in told.splitlines() if line.split()[:1] == ["error"]]
    values = summary["untrained"]["val/error"], summary["metrics"]["val/error"]
    assert row == ["error", *[f"{value:.4g}" for value in values]]


def test_a_probe_asks_for_an_encoder(main, folder, capsys):
    assert main("experiment=plain", "callbacks=probe") == 2
    assert "callbacks=probe needs a method with an attribute encoder, PlainMethod has none." in (
        capsys.readouterr().err
    )


def test_it_trains_with_a_plain_trainer(folder):
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    made = PlainMethod()
    before = made.layer.weight.detach().clone()
    trainer.fit(made, TinyData(batch_size=4))
    assert trainer.global_step == 2
    assert not torch.equal(before, made.layer.weight)
    assert model_line(made).startswith("PlainMethod")

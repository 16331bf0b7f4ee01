"""`experiment=mast` as a user runs it."""

import csv
import json
from pathlib import Path

import pytest
import torch

from selfsup_motion import load_encoder, load_method
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.train import train

TINY = (
    "trainer=cpu", "data.val_videos=2", "data.batch_size=2", "data.num_workers=0",
    "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.log_every_n_steps=1",
    "callbacks.figures.every_n_validations=0", "view.crop_size=48", "data.size=48",
)  # fmt: skip


def run(folder: Path, *overrides: str) -> Path:
    train(compose(["experiment=mast", *TINY, f"paths.output_dir={folder}", *overrides]))
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, capsys):
    """With a memory of two frames and gaps that are drawn."""
    more = ("data.length=3", "data.module.sampler.strides=[1,2]")
    whole = run(tmp_path / "whole", "callbacks.checkpoint.keep_every_n_steps=2", *more)
    printed = capsys.readouterr().out
    stored = whole / "checkpoints" / "step_00000002.ckpt"
    resumed = run(tmp_path / "resumed", f"resume={stored}", *more)
    weights = [load_encoder(folder).state_dict() for folder in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert rows(whole)[2:] == rows(resumed)[-len(rows(whole)) + 2 :]
    summary = json.loads((whole / "summary.json").read_text())
    metrics, untrained = summary["metrics"], summary["untrained"]
    lines = [line.split() for line in printed.splitlines()]
    for name, value in (("untrained", untrained["val/j"]), ("MAST", metrics["val/j"])):
        assert [name, "network", f"{value:.3f}"] in lines
    assert load_method(whole).score_scale == pytest.approx(32**-0.5)
    assert load_encoder(whole).lab


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=paper/mast_youtube_vos", "data.root=/somewhere"],
        ["experiment=paper/mast_youtube_vos", "data.root=/somewhere", "method.score_scale=1",
         "method.schedule.warmup_steps=0", "method.border=zero"],
        ["experiment=mast", "method=mast"],
    ],
)  # fmt: skip
def test_recipes_are_complete(overrides):
    cfg = compose(overrides)
    check_config(cfg)
    assert cfg.method.schedule.batch_size == cfg.data.batch_size

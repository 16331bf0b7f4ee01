"""`experiment=corrflow` and its relatives as a user runs them."""

import csv
import json
from pathlib import Path

import pytest
import torch

from selfsup_motion import load_encoder, load_method
from selfsup_motion.ops.color import KINETICS_CENTROIDS
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options
from selfsup_motion.train import train

TINY = (
    "trainer=cpu", "data.val_videos=2", "data.batch_size=2", "data.num_workers=0",
    "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.log_every_n_steps=1",
    "callbacks.figures.every_n_validations=0", "view.crop_size=48", "data.size=48",
)  # fmt: skip


def run(folder: Path, *overrides: str, experiment: str = "corrflow") -> Path:
    train(compose([f"experiment={experiment}", *TINY, f"paths.output_dir={folder}", *overrides]))
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = run(tmp_path / "whole", "callbacks.checkpoint.keep_every_n_steps=2")
    resumed = run(tmp_path / "resumed", f"resume={whole / 'checkpoints' / 'step_00000002.ckpt'}")
    weights = [load_encoder(folder).state_dict() for folder in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert rows(whole)[2:] == rows(resumed)[-len(rows(whole)) + 2 :]


def test_a_run_is_reported_and_loads(tmp_path, capsys):
    folder = run(tmp_path / "run")
    printed = capsys.readouterr().out
    assert "raw Lab colour" in printed
    summary = json.loads((folder / "summary.json").read_text())
    metrics, untrained = summary["metrics"], summary["untrained"]
    lines = [line.split() for line in printed.splitlines()]
    for name, values in (("untrained", untrained), ("CorrFlow", metrics)):
        told = [f"{values[metric]:.3f}" for metric in ("val/accuracy", "val/j")]
        assert [name, "network", *told] in lines
    assert untrained["val/j_color"] == metrics["val/j_color"]
    expected = {"val/j", "val/j_identity", "val/j_color", "val/j_patches", "val/accuracy"}
    assert expected <= set(metrics)
    method = load_method(folder)
    assert len(method.colors) == 16
    assert not torch.allclose(method.colors.centroids, torch.tensor(KINETICS_CENTROIDS))


@pytest.mark.parametrize(
    "experiment",
    [
        *(name for name in options("experiment") if name.startswith("ablation/corrflow_")),
        "baseline/video_colorization",
    ],
)
def test_every_ablation_trains(tmp_path, experiment):
    run(tmp_path, "trainer.max_steps=1", "trainer.limit_val_batches=1", experiment=experiment)
    assert rows(tmp_path)


@pytest.mark.parametrize("name", ["paper/corrflow_kinetics", "paper/corrflow_oxuva"])
def test_paper_recipes_are_complete(name):
    check_config(compose([f"experiment={name}", "data.root=/somewhere"]))

"""`experiment=crw` as a user runs it."""

import csv
import json
from pathlib import Path

import torch

from selfsup_motion import load_encoder, load_method
from selfsup_motion.settings.compose import compose
from selfsup_motion.train import train

TINY = (
    "trainer=cpu", "data.val_videos=2", "data.batch_size=1", "data.num_workers=0", "data.size=48",
    "data.module.val_sampler.length=4", "encoder.width=8", "view.size=48", "view.patch=24",
    "view.step=12", "view.nodes=patches", "trainer.max_steps=4", "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
)  # fmt: skip


def run(folder: Path, *overrides: str) -> Path:
    train(compose(["experiment=crw", *TINY, f"paths.output_dir={folder}", *overrides]))
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


def test_a_run_is_reported_and_loads_and_a_resumed_one_equals_it(tmp_path, capsys):
    whole = run(tmp_path / "whole", "callbacks.checkpoint.keep_every_n_steps=2")
    printed = capsys.readouterr().out
    summary = json.loads((whole / "summary.json").read_text())
    lines = [line.split() for line in printed.splitlines()]
    for name, values in (("untrained", summary["untrained"]), ("CRW", summary["metrics"])):
        told = [f"{values[metric]:.3f}" for metric in ("val/accuracy", "val/j")]
        assert [name, "network", *told] in lines
    assert load_method(whole).patch == 24
    # edges are dropped in training: the draws are those of the step, whoever makes it
    resumed = run(tmp_path / "resumed", f"resume={whole / 'checkpoints' / 'step_00000002.ckpt'}")
    weights = [load_encoder(folder).state_dict() for folder in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert rows(whole)[2:] == rows(resumed)[-len(rows(whole)) + 2 :]

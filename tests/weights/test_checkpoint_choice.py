"""Which run `checkpoint=auto` takes, and what is said about a path that is no checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.choice import chosen_checkpoint, newest_checkpoint
from selfsup_motion.weights.run_folders import runs_below

RUNS = Path("outputs/train")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes run folders of 100 steps below `outputs`, each newer than the one before."""
    monkeypatch.chdir(tmp_path)
    times = iter(range(10**9, 2 * 10**9, 100))

    def run(
        name: str,
        method: str = "cmp.CMP",
        *,
        steps: dict[str, int] | None = None,
        finished: bool | None = True,
        told_before: bool = False,
        **trainer: Any,
    ) -> Path:
        folder = Path("outputs") / name
        (folder / "checkpoints").mkdir(parents=True)
        config = {
            "method": {"_target_": f"selfsup_motion.methods.{method}"},
            "trainer": {"max_steps": 100, "overfit_batches": 0.0, **trainer},
        }
        ours = {"version": "0", "experiment": "cmp", "config": config}
        for file, step in (steps or {"best": 40, "last": 100}).items():
            path = folder / "checkpoints" / f"{file}.ckpt"
            content = {"state_dict": {}, "global_step": step, "selfsup_motion": ours}
            torch.save(content, path)
            time = next(times)
            os.utime(path, (time, time))
        if finished is not None:
            path = folder / "summary.json"
            path.write_text(json.dumps({"finished": finished}))
            time = 1 if told_before else next(times)
            os.utime(path, (time, time))
        return folder

    return run


def test_auto_takes_the_newest_finished_run_of_the_method(make):
    make("train/cmp/a")
    wanted = make("train/cmp/sweep/1")
    make("train/corrflow/c", "corrflow.CorrFlow")
    make("evaluate/voc", "segmentation.Segmentation")
    assert newest_checkpoint("CMP") == wanted / "checkpoints/best.ckpt"
    assert chosen_checkpoint("auto", "CorrFlow").parts[2] == "corrflow"


def test_auto_takes_the_last_checkpoint_of_a_run_without_validations(make):
    run = make("train/cmp/a", steps={"last": 100})
    assert newest_checkpoint("CMP") == run / "checkpoints/last.ckpt"


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("debug/cmp/b", {}, "outputs/debug/cmp/b is a debug run"),
        ("train/cmp/b", {"fast_dev_run": True}, "outputs/train/cmp/b has trainer.fast_dev_run=tru"),
        ("train/cmp/b", {"overfit_batches": 2}, "b has trainer.overfit_batches=2"),
        ("train/cmp/b", {"detect_anomaly": True}, "b has trainer.detect_anomaly=true"),
        ("train/cmp/b", {"finished": False}, "b is not finished, it is at step 100 of 100"),
        (
            "train/cmp/b",
            {"finished": None, "steps": {"best": 40, "last": 60}},
            "b is not finished, it is at step 60 of 100",
        ),
        ("train/cmp/b", {"finished": None, "steps": {"best": 40}}, "it is at step 40 of 100"),
        (  # finished once, then prolonged and killed
            "train/cmp/b",
            {"told_before": True, "max_steps": 900},
            "b is not finished, it is at step 100 of 900",
        ),
        ("train/cmp/b", {"finished": None, "max_steps": -1}, "it is at step 100:"),
    ],
)
def test_auto_never_takes_a_debug_run_or_an_unfinished_one(make, name, options, told):
    older = make("train/cmp/a")
    make(name, **options)
    assert newest_checkpoint("CMP") == older / "checkpoints/best.ckpt"
    for file in older.rglob("*.ckpt"):
        file.unlink()
    with pytest.raises(CheckpointError) as caught:
        newest_checkpoint("CMP")
    assert "checkpoint=auto: there is no finished CMP run below outputs/ (" in str(caught.value)
    assert told in str(caught.value).replace(")", ":")
    assert "selfsup_motion.train experiment=cmp_animate, or name a checkpoint (" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "options",
    [
        {"finished": None},  # killed after its last step was saved
        {"max_steps": -1, "steps": {"last": 70}},  # ended by its time
        {"told_before": True},  # copied without the times of its files
    ],
)
def test_auto_recognises_a_run_that_is_at_its_end(make, options):
    run = make("train/cmp/a", **options)
    assert newest_checkpoint("CMP").parent == run / "checkpoints"


def test_auto_passes_over_a_damaged_checkpoint(make, caplog):
    wanted = make("train/cmp/a")
    (make("train/cmp/b") / "checkpoints/best.ckpt").write_text("cut off")
    assert newest_checkpoint("CMP") == wanted / "checkpoints/best.ckpt"
    assert "outputs/train/cmp/b/checkpoints/best.ckpt" in caplog.text


def test_a_folder_of_runs_names_them_newest_first(make):
    runs = [make(f"train/cmp/{name}") for name in "abcdefg"]
    assert set(runs_below(Path("outputs"))) == set(runs)
    with pytest.raises(CheckpointError) as caught:
        chosen_checkpoint("outputs/train/cmp", "CMP")
    assert str(caught.value) == (
        "checkpoint=outputs/train/cmp: not a run folder, but a folder of runs; name one: "
        + ", ".join(str(run) for run in runs[:1:-1])
        + " and 2 older ones."
    )


def test_a_path_that_is_nowhere_is_said_once(make):
    with pytest.raises(CheckpointError) as caught:
        chosen_checkpoint("nowhere", "CMP")
    told = str(caught.value)
    assert told.startswith("checkpoint=nowhere: there is no such checkpoint or run folder;")
    assert told.count("nowhere") == 1


def test_a_folder_without_runs_is_no_run_folder(make, tmp_path):
    Path("photos").mkdir()
    with pytest.raises(CheckpointError, match=r"^checkpoint=photos: not a run folder, it has no"):
        chosen_checkpoint("photos", "CMP")
    with pytest.raises(CheckpointError, match="there is no finished CMP run below outputs/: train"):
        newest_checkpoint("CMP")

"""Runs without a validation, and lengths that would train nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

TINY = "experiment=tiny data=tiny"
QUICK = "trainer=cpu trainer.max_steps=2 data.num_workers=0 data.batch_size=2"


@pytest.mark.parametrize(
    "line",
    [
        "train experiment=cmp data.size=64 view.crop_size=64",
        "train experiment=corrflow",
        "train experiment=mosi",
        "evaluate task=toy_seg encoder=resnet10",
        "evaluate task=toy_actions_finetune encoder=r3d8",
        "evaluate task=toy_instances encoder=resnet10",
    ],
)
def test_run_without_validation_ends_well(command, folder, capsys, line):
    verb, *arguments = shlex.split(f"{line} {QUICK}")
    without = ("trainer.limit_val_batches=0", "paths.output_dir=run")
    assert command(verb, *arguments, *without) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "There was no validation, so there is nothing to compare." in told.out
    assert "run/checkpoints/last.ckpt" in told.out
    assert "Traceback" not in told.out + told.err
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["finished"], summary["steps"]) == (True, 2)
    assert not [name for name in summary["metrics"] if name.startswith("val/")]
    assert summary["best_checkpoint"] is None


def test_run_without_validation_can_be_prolonged_with_one(main, folder, capsys):
    tiny = TINY.split()
    first = ("trainer.max_steps=2", "trainer.limit_val_batches=0.0", "paths.output_dir=run")
    assert main(*tiny, *first) == 0
    assert main(*tiny, "trainer.max_steps=4", "resume=run") == 0
    assert json.loads(Path("run/summary.json").read_text())["metrics"]["val/epe"] > 0
    assert Path("run/checkpoints/best.ckpt").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("trainer.max_steps=0", "trainer.max_steps=0: nothing would be trained; give a number of"),
        ("trainer.max_steps=-1 trainer.max_epochs=0", "trainer.max_epochs=0: nothing would be tra"),
        ("trainer.max_steps=-1", "trainer.max_steps=-1: the learning rate's schedule depends on"),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: nothing would be trai"),
        ("trainer.limit_train_batches=0.0", "trainer.limit_train_batches=0: nothing would be tra"),
        ("trainer.limit_train_batches=0.01", "trainer.limit_train_batches=0.01: training data are"),
        ("trainer.overfit_batches=0.01", "trainer.overfit_batches=0.01: training data are endless"),
        ("trainer.limit_val_batches=0.01", "trainer.limit_val_batches=0.01: that is less than on"),
        ("trainer.val_check_interval=0", "trainer.val_check_interval=0: expected 1 or more steps"),
        ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch=0: expected 1 or"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: expected 1 or"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: expected a norm above 0"),
        ("trainer.max_time=00:00:00:00", "Training ended before its first step: trainer.max_time"),
        (
            "trainer.limit_val_batches=0 optimized_metric=val/epe",
            "optimized_metric=val/epe: trainer.limit_val_batches=0 leaves out the validation that",
        ),
        ("seed=-1", "seed=-1: expected a whole number from 0 to 4294967295."),
        ("seed=4294967296", "seed=4294967296: expected a whole number from 0 to 4294967295."),
        ("data.batch_size=0", "data.batch_size=0: expected 1 or more samples of a step."),
    ],
)  # fmt: skip
def test_length_that_trains_nothing_is_one_sentence(main, folder, capsys, arguments, expected):
    assert main(*TINY.split(), *arguments.split()) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "evaluate task=davis2017 data=toy encoder=lab_color seed=-1",
        "fit_colors output=c.json seed=-1",
        "train experiment=cmp data.world_seed=-1",
        "evaluate task=toy_actions encoder=r3d8 task.few_shot.seed=-1",
    ],
)
def test_negative_seed_is_one_sentence_for_every_command(command, folder, capsys, line):
    verb, *arguments = shlex.split(line)
    assert command(verb, *arguments) == 2
    assert "seed=-1: expected a whole number from 0 to 4294967295." in capsys.readouterr().err
    assert list(folder.iterdir()) == []

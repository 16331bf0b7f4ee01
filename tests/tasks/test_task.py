"""A task of one's own: what it must have, what it inherits, what is asked of its encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfsup_motion.errors import UserError
from selfsup_motion.evaluate import evaluate
from selfsup_motion.settings.compose import compose

CODE = '''
from torch import nn

from selfsup_motion.tasks.task import Task


class Weights(Task):
    """Counts the numbers that an encoder has learned."""

    def run(self, encoder, folder, *, device="cpu", reuse=False, progress=None):
        numbers = sum(p.numel() for p in encoder.parameters())
        (folder / "numbers.txt").write_text(str(numbers))
        return {"numbers": float(numbers)}


class OfClips(Weights):
    needs = {"labels": None, "encoder": "clip"}

    def summary(self):
        return {"told": "by the task"}


class OfMazes(Weights):
    needs = {"labels": "mazes", "encoder": "any"}


class OfSound(Weights):
    needs = {"labels": None, "encoder": "sound"}


class Stranger:
    def run(self, *arguments, **options):
        return {}
'''
TASK = """# @package _global_
# A task of somebody's own
name: mine
headline: numbers
task:
  _target_: tasks_of_mine.{}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a task of this module on an encoder."""
    (tmp_path / "tasks_of_mine.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(kind: str, *overrides: str) -> Any:
        (tmp_path / "conf/task").mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf/task/mine.yaml").write_text(TASK.format(kind))
        parts = [f"hydra.searchpath=[{tmp_path / 'conf'}]", "task=mine", "paths.output_dir=out"]
        return evaluate(compose([*parts, *overrides], config_name="evaluate"))

    return run


def test_a_task_of_one_method_is_evaluated(own: Any, tmp_path: Path) -> None:
    numbers = own("Weights", "encoder=resnet18")
    assert numbers == float((tmp_path / "out/numbers.txt").read_text()) > 1e6
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["metrics"] == {"numbers": numbers}
    assert summary["baselines"] == {}


def test_a_task_gets_the_kind_of_encoder_that_it_needs(own: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^task=mine needs an encoder of clips .*ResNetEncoder is"):
        own("OfClips", "encoder=resnet18")
    assert not (tmp_path / "out").exists()
    assert own("OfClips", "encoder=r3d8") > 0
    assert json.loads((tmp_path / "out/summary.json").read_text())["told"] == "by the task"


@pytest.mark.parametrize(
    ("kind", "overrides", "expected"),
    [
        ("OfMazes", (), "task=mine: this data set has no labelled mazes"),
        ("Weights", ("overlay=true",), "overlay=true: task=mine has nothing to draw"),
        ("OfSound", (), r"tasks_of_mine\.OfSound does not say what it needs; .*needs = {"),
        ("Stranger", (), r"tasks_of_mine\.Stranger does not say what it needs; derive it from"),
    ],
)
def test_what_cannot_be_done_is_told(
    own: Any, kind: str, overrides: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        own(kind, "encoder=resnet18", *overrides)

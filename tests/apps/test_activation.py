"""The activation map of a video: files, answers, and sentences for what cannot be done."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from selfsup_motion import __version__
from selfsup_motion.apps.activation import Activation, clip_spans
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.weights.contents import KEY

OPTIONS = {
    "checkpoint": "auto",
    "checkpoint_key": None,
    "trust": (),
    "motion": None,
    "stride": 1,
    "seconds": None,
    "short_side": None,
    "picture_side": 64,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder of an untrained network."""
    from omegaconf import OmegaConf

    cfg = compose(["experiment=mosi"])
    config = OmegaConf.to_container(cfg, resolve=True)
    torch.manual_seed(0)
    method = build(cfg.method, "method")
    folder = tmp_path_factory.mktemp("runs") / "mosi"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(
        {
            "state_dict": method.state_dict(),
            "global_step": config["trainer"]["max_steps"],
            KEY: {"version": __version__, "experiment": "mosi", "config": config},
        },
        folder / "checkpoints" / "best.ckpt",
    )
    return folder


def write_video(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    frames = ToyWorld(1, size=64, num_frames=20).read(0, range(20)).frames
    path = tmp_path_factory.mktemp("video") / "toy.mp4"
    write_video(path, np.ascontiguousarray(frames.transpose(0, 2, 3, 1)))
    return path


def activation(video: Path, checkpoint: Path, **changes) -> Activation:
    return Activation(video=str(video), **{**OPTIONS, "checkpoint": str(checkpoint), **changes})


def test_a_video_becomes_a_film_a_strip_and_a_table(run, video, tmp_path):
    done = []
    lines = activation(video, run).run(tmp_path, lambda n, total, _: done.append((n, total)))
    assert done[-1] == (20, 20)
    assert len(lines) == 4
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 20
    strip = cv2.imread(str(tmp_path / "strip.png"))
    assert strip.shape[1] == 8 * 64
    with (tmp_path / "answers.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3  # 8 frames a clip
    assert all(0 < float(row["probability"]) <= 1 for row in rows)


def test_the_motion_asked_about_is_shown(run, video, tmp_path):
    activation(video, run, motion="y-2").run(tmp_path, lambda *_: None)
    with (tmp_path / "answers.csv").open() as stream:
        assert {row["motion"] for row in csv.DictReader(stream)} == {"y-2"}


def test_a_video_shorter_than_a_clip_stays_at_its_last_frame(run, tmp_path):
    path = tmp_path / "short.mp4"
    write_video(path, np.full((3, 64, 64, 3), 90, np.uint8))
    activation(path, run).run(tmp_path, lambda *_: None)
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 3


@pytest.mark.parametrize(("count", "span"), [(1, 8), (8, 8), (9, 8), (20, 8), (24, 8)])
def test_clips_cover_the_video(count, span):
    spans = clip_spans(count, span)
    covered = [False] * count
    for first, last in spans:
        assert last - first == min(span, count)
        covered[first:last] = [True] * (last - first)
    assert all(covered)
    assert len(spans) == -(-count // span)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 0}, "stride=0"),
        ({"seconds": 0.0}, "seconds=0"),
        ({"short_side": 8}, "short_side=8"),
    ],
)
def test_arguments_out_of_range_are_refused(run, video, changes, message):
    with pytest.raises(UserError, match=message):
        activation(video, run, **changes)


def test_unknown_motions_videos_and_other_networks_are_refused(run, video, tmp_path):
    with pytest.raises(UserError, match="motion=left: this network knows x-2"):
        activation(video, run, motion="left").run(tmp_path, lambda *_: None)
    with pytest.raises(UserError, match="no such file"):
        activation(tmp_path / "none.mp4", run).run(tmp_path, lambda *_: None)
    with pytest.raises(UserError, match="there is no such checkpoint"):
        activation(video, tmp_path / "none.ckpt").run(tmp_path, lambda *_: None)


def test_the_command_finds_the_newest_run(command, run, video, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "outputs" / "train" / "mosi" / "now")
    assert command("activation", f"video={video}", "seconds=1", "checkpoint=auto") == 0
    weights = "outputs/train/mosi/now/checkpoints/best.ckpt (MoSI, experiment mosi, step 600)"
    assert f"weights  {weights}" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("film.mp4"))) == 1

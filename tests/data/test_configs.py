"""The data configs: `experiment=cmp data=…` makes batches, or says in a sentence why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jobs import prepare
from omegaconf import OmegaConf
from video_files import write_video

from selfsup_motion.errors import UserError
from selfsup_motion.ops.flow_io import write_flow
from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose


def batch_of(*overrides: str) -> dict[str, Any]:
    """The first training batch, and the first validation batch."""
    small = ["data.batch_size=2", "data.num_workers=0", "view.crop_size=64", "view.short_side=64"]
    cfg = compose(["experiment=cmp", *small, *overrides])
    OmegaConf.resolve(cfg.data)
    check_config(cfg)
    datamodule = build(cfg.data.module, "data")
    datamodule.setup("fit")
    next(iter(datamodule.val_dataloader()))
    return dict(next(iter(datamodule.train_dataloader())))


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (96, 72)))


def make(kind: str, root: Path) -> None:
    """A small data set in the layout of a config."""
    if kind == "yfcc":
        lines = []
        for index in range(4):
            write_image(root / f"{index}_0.jpg", index)
            write_image(root / f"{index}_1.jpg", index)
            write_flow(root / f"{index}.flowz", np.full((2, 72, 96), index, np.float32))
            lines.append(f"{index}_0.jpg {index}_1.jpg {index}.flowz")
        (root / "lists").mkdir()
        (root / "lists/train.txt").write_text("\n".join(lines))
    elif kind in ("frames", "oxuva"):
        for video in ("a", "b", "c"):
            for index in range(4):
                write_image(root / video / f"{index:05d}.jpg", index)
    elif kind == "images":
        for index in range(4):
            write_image(root / f"{index}.jpg", index)
    else:
        for name in ("yoga/a.mp4", "yoga/b.mp4", "archery/c.mp4"):
            write_video(root / name, 8)


@pytest.mark.parametrize("kind", ["yfcc", "frames", "oxuva", "kinetics", "videos"])
def test_cmp_gets_batches_from_every_source_with_flow(tmp_path: Path, kind: str) -> None:
    make(kind, tmp_path)
    batch = batch_of(f"data={kind}", f"data.root={tmp_path}")
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["flow"].shape == (2, 2, 64, 64)
    assert torch.isfinite(batch["flow"]).all()


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("images", [], "CMP learns from flow, but still images do not move: choose videos"),
        ("videos", ["data.flow=null"], "come without it: set data.flow to stored or dis."),
        ("frames", ["data.flow=null"], "come without it: set data.flow to stored or dis."),
        ("yfcc", ["data.flow=null"], "come without it: set data.flow to stored or dis."),
        ("videos", ["data.flow=stored"], "data.flow=stored needs data.flow_root"),
        ("frames", ["data.flow=stored", "data.flow_root=/x"], "data.flow_root=/x holds no"),
        ("kinetics", ["data.flow=raft_small", "data.flow_weights=/none"], "needs weights"),
        ("videos", ["data.short=repeat"], "short"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    tmp_path: Path, kind: str, more: list[str], message: str
) -> None:
    make(kind, tmp_path)
    with pytest.raises(UserError) as caught:
        batch_of(f"data={kind}", f"data.root={tmp_path}", *more)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["videos", "frames"])
def test_flow_that_prepare_stored_is_trained_on(tmp_path: Path, kind: str) -> None:
    make(kind, tmp_path / "in")
    prepare("flow", root=tmp_path / "in", output=tmp_path / "flow", strides=[1, 2])
    settings = [f"data={kind}", f"data.root={tmp_path}/in", "data.flow=stored"]
    batch = batch_of(*settings, f"data.flow_root={tmp_path}/flow")
    assert batch["valid"].any()
    with pytest.raises(UserError, match="flow at stride 3 is not stored in"):
        batch_of(*settings, f"data.flow_root={tmp_path}/flow", "data.stride=3")


MIX = (
    "data.sources={clips: {_target_: selfsup_motion.data.sources.videos.VideoFolder, "
    "_partial_: true, root: %s/videos, flow: dis}, "
    "pairs: {_target_: selfsup_motion.data.sources.frames.FrameFolder, "
    "_partial_: true, root: %s/yfcc, layout: pairs, flow: stored}}"
)


def test_sources_are_mixed_by_weight(tmp_path: Path) -> None:
    make("videos", tmp_path / "videos")
    make("yfcc", tmp_path / "yfcc")
    settings = ["data=mix", MIX % (tmp_path, tmp_path)]
    batch = batch_of(*settings, "data.weights={clips: 1, pairs: 3}")
    assert {key.partition("/")[0] for key in batch["key"]} <= {"clips", "pairs"}
    assert batch["flow"].shape == (2, 2, 64, 64)
    for weights in ("{clips: 1}", "{clips: 1, pairs: 0}", "{clips: 1, pears: 2}"):
        with pytest.raises(UserError, match="give a positive one for each of clips, pairs"):
            batch_of(*settings, f"data.weights={weights}")
    with pytest.raises(UserError, match=r"Unknown key data\..*\.rot: did you mean .*\.root\?"):
        batch_of("data=mix", (MIX % (tmp_path, tmp_path)).replace("root: ", "rot: ", 1))
    with pytest.raises(UserError, match=r"^Source clips: The folder .* does not exist"):
        batch_of("data=mix", (MIX % (tmp_path, tmp_path)).replace("/videos,", "/nothing,", 1))


def test_short_videos_are_looped_on_request(tmp_path: Path) -> None:
    make("videos", tmp_path)
    settings = ["data=videos", f"data.root={tmp_path}", "data.stride=20"]
    with pytest.raises(UserError, match="needs 21"):
        batch_of(*settings)
    assert batch_of(*settings, "data.short=loop")["image"].shape == (2, 3, 64, 64)


def test_the_published_samples_train(shared: Path) -> None:
    batch = batch_of("data=yfcc", f"data.root={shared}/golden/cmp/dataset_files")
    assert batch["point_mask"].any()
    assert batch["valid"].all()


def test_kinetics_samples_train(shared: Path) -> None:
    root = shared / "data/actions/kinetics"
    assert batch_of("data=kinetics", f"data.root={root}")["valid"].any()

"""`data=photo_clips`: clips in which a camera moves over photos and things pass in front."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from selfsup_motion.data.worlds.clips import PhotoClips
from selfsup_motion.data.worlds.cutouts import LIST
from selfsup_motion.errors import UserError
from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose

CLIPS = PhotoClips(num_videos=20, size=64)


def red_photo(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "red.png"), np.full((80, 90, 3), (0, 0, 200), np.uint8))
    return folder


def green_cutout(folder: Path) -> Path:
    (folder / "a").mkdir(parents=True)
    cv2.imwrite(str(folder / "a/0.png"), np.full((64, 64, 3), (0, 200, 0), np.uint8))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:44, 20:44] = 1
    cv2.imwrite(str(folder / "a/0_mask.png"), mask)
    (folder / LIST).write_text(json.dumps({"a/0": [[[1, 0, 3], [0, 1, 0]]]}))
    return folder


def test_a_frame_depends_on_its_numbers_alone() -> None:
    again = pickle.loads(pickle.dumps(CLIPS))
    together = CLIPS.read(3, [4, 9, 20])
    CLIPS.read(5, [0]), CLIPS.read(6, [0])
    alone = again.read(3, [9])
    assert np.array_equal(together.frames[1], alone.frames[0])
    assert np.array_equal(together.labels["masks"][1], alone.labels["masks"][0])
    assert not np.array_equal(together.frames[0], together.frames[1])
    assert together.times is not None
    assert together.times[1] == pytest.approx(9 / 12)


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "val"}])
def test_seeds_and_splits_are_different_clips(other: dict[str, object]) -> None:
    theirs = PhotoClips(num_videos=20, size=64, **other)  # type: ignore[arg-type]
    assert not np.array_equal(CLIPS.read(0, [0]).frames, theirs.read(0, [0]).frames)


def test_things_move_on_their_own_before_a_photo(tmp_path: Path) -> None:
    clips = PhotoClips(
        num_videos=12, size=64, things=(1, 1), area=(0.1, 0.2),
        textures=red_photo(tmp_path / "photos"), cutouts=green_cutout(tmp_path / "cut"),
    )  # fmt: skip
    red, green, moved = [], [], []
    for index in range(12):
        clip = clips.read(index, [0, 30])
        masks = clip.labels["masks"]
        levels = clip.frames.transpose(0, 2, 3, 1).astype(int)
        behind = levels[masks == 0]
        red.append(np.median(behind[:, 0] - behind[:, 1]) > 40)
        if (masks > 0).any(axis=(1, 2)).all():
            inside = levels[masks > 0]
            green.append(np.median(inside[:, 1] - inside[:, 0]) > 40)
            centres = [np.argwhere(mask).mean(0) for mask in masks]
            moved.append(np.hypot(*(centres[1] - centres[0])))
    assert np.mean(red) > 0.5, "most backdrops are the photo"
    assert any(green), "cut-outs are pasted"
    assert np.median(moved) > 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"split": "other"}, "split must be one of"),
        ({"size": 8}, "size must be at least 32"),
        ({"num_videos": 0}, "num_videos must be at least 1"),
        ({"things": (3, 1)}, r"data\.things=\[3, 1\]"),
        ({"area": (0.0, 0.1)}, r"data\.area=\[0\.0, 0\.1\]"),
        ({"cutouts": "nowhere"}, "data.cutouts=nowhere"),
        ({"textures": "nowhere"}, "data.textures"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        PhotoClips(**settings)  # type: ignore[arg-type]


def test_frames_that_are_not_there_are_refused() -> None:
    with pytest.raises(IndexError, match="frames 0 to 63"):
        CLIPS.read(0, [64])
    with pytest.raises(IndexError, match="there is no 20"):
        CLIPS.read(20, [0])


def test_a_method_that_needs_flow_is_told_where_there_is_some() -> None:
    cfg = compose(["experiment=cmp", "data=photo_clips", "data.num_workers=0", "data.size=64"])
    OmegaConf.resolve(cfg.data)
    with pytest.raises(UserError, match="clips of photos come without it: use data=worlds"):
        build(cfg.data.module, "data").setup("fit")


def test_the_config_gives_clips(tmp_path: Path) -> None:
    cfg = compose(
        ["experiment=dense_ulearn_videos", "data=photo_clips", "data.batch_size=4", "data.size=64",
         "data.num_videos=6", "data.num_workers=0", "view.crop_size=32", "view.short_side=null",
         "data.clips_per_video=1", f"data.textures={red_photo(tmp_path / 'photos')}"]
    )  # fmt: skip
    OmegaConf.resolve(cfg.data)
    check_config(cfg)
    datamodule = build(cfg.data.module, "data")
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    assert batch["frames"].shape == (4, 3, 3, 32, 32)
    next(iter(datamodule.val_dataloader()))

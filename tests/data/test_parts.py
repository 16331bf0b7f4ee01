"""Folders called train, val or test, in every source that divides what it finds."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import prepare
from PIL import Image
from video_files import write_video

from selfsup_motion.data.reading.parts import Parts, part_named
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.errors import UserError


def divided(paths: Iterable[str], **options: Any) -> tuple[list[str], list[str]]:
    """Both sides of some paths."""
    paths = sorted(paths)
    parts = Parts(paths, **options)
    train, val = (
        parts.divide(paths, split, 0.3, root="root", what="video") for split in ("train", "val")
    )
    return train, val


def below(folder: str, *names: str) -> list[str]:
    return [f"{folder}/{name}.mp4" for name in names or "abcd"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *[(name, "train") for name in ("train", "Training", "TRAIN_SET", "train2017", "trainval")],
        *[(name, "val") for name in ("val", "VALID", "Validation", "validate", "dev", "val_256")],
        *[(name, "test") for name in ("test", "Testing", "test-images", "test_set", "test-dev")],
        *[(name, None) for name in ("trains", "trainer", "tests", "test1", "valley", "contest")],
    ],
)
def test_parts_are_known_by_their_usual_names_in_any_case(name: str, part: str | None) -> None:
    assert part_named(name) == part


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train", "val"),
        ("Training", "Validation"),
        ("TRAIN", "valid"),
        ("train", "testing"),
        ("train_256", "val_256"),
        ("dev", "test"),
        ("trainval", "test"),
    ],
)
@pytest.mark.parametrize(
    "layout", ["{part}", "{part}/{label}", "k/{part}/{label}", "{label}/{part}"]
)
def test_training_and_validation_folders_stay_apart(train: str, val: str, layout: str) -> None:
    folders = {
        part: {layout.format(part=part, label=label) for label in ("yoga", "test")}
        for part in (train, val)
    }
    paths = {part: sorted(p for f in folders[part] for p in below(f)) for part in folders}
    assert divided(paths[train] + paths[val]) == (paths[train], paths[val])
    parts = Parts(paths[train] + paths[val])
    assert all("yoga" in parts.class_folders(p) for p in paths[train] if "yoga" in p)
    assert not any(train in parts.class_folders(p) for p in paths[train])


def test_the_log_says_what_is_trained_and_validated_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        divided([*below("train"), *below("Test", "x")])
    assert "root: training on train (4 videos)." in caplog.text
    assert "validating on Test (1 video), as there is no validation folder." in caplog.text
    caplog.clear()
    paths = [*below("train"), *below("val"), *below("test"), *below("extra"), "loose.mp4"]
    with caplog.at_level(logging.INFO):
        train, val = divided(paths)
    assert (train, val) == (below("train"), below("val"))
    assert "9 videos not used (., extra, test)" in caplog.text


def test_without_a_folder_to_validate_on_a_share_is_held_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        train, val = divided(below("Train/yoga"))
    assert sorted(train + val) == below("Train/yoga")
    assert train
    assert val
    assert "no validation folder, a share of Train is held out" in caplog.text


def test_a_folder_called_test_among_classes_is_a_class(caplog: pytest.LogCaptureFixture) -> None:
    paths = sorted([*below("test"), *below("run"), *below("train"), *below("bus")])
    # a train beside a test would be a part
    vehicles = [path for path in paths if not path.startswith("test")]
    tests = [path for path in paths if not path.startswith("train")]
    for some in (vehicles, tests):
        with caplog.at_level(logging.INFO):
            train, val = divided(some)
        assert sorted(train + val) == some
        assert Parts(some).found == set()
    assert "train counts like any other folder" in caplog.text
    assert "test counts like any other folder" in caplog.text
    assert Parts(tests).class_folders("test/a.mp4") == ["test"]
    train, val = divided(paths, enabled=False)
    assert sorted(train + val) == paths, "a way out where the rule is wrong"


def test_a_collection_may_be_divided_in_places() -> None:
    free = below("other", *map(str, range(20)))
    train, val = divided([*below("a/train"), *below("a/val"), *free])
    assert set(below("a/train")) < set(train)
    assert set(below("a/val")) < set(val)
    assert set(free) < set(train + val)
    # LIP: the parts are in folders that are called like parts
    lip = ["TrainVal_images/train_images/a.jpg", "TrainVal_images/val_images/b.jpg"]
    assert divided([*lip, "Testing_images/testing_images/c.jpg"]) == ([lip[0]], [lip[1]])


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            below("val"),
            r"videos to validate or test on \(val\) and none to train on: set data.root",
        ),
        (["a.mp4", *below("valid")], "videos beside the folder valid: move those to train on"),
    ],
)
def test_what_has_no_clear_training_part_is_refused(paths: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        divided(paths)
    train, val = divided(paths, enabled=False)
    assert sorted(train + val) == sorted(paths)


def test_absolute_paths_are_divided_too() -> None:
    assert divided(["/x/train/a.mp4", "/x/val/b.mp4"]) == (["/x/train/a.mp4"], ["/x/val/b.mp4"])


def sides(kind: Any, root: str | Path, **options: Any) -> tuple[set[str], set[str]]:
    train, val = (
        {source.name(i) for i in range(len(source))}
        for source in (kind(root, split=split, **options) for split in ("train", "val"))
    )
    return train, val


def save(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(root / name)


def inside(names: set[str], folder: Path) -> bool:
    return bool(names) and all(name.startswith(f"{folder}/") for name in names)


def test_images_and_frames_keep_to_the_parts(tmp_path: Path) -> None:
    for part in ("Training", "Valid"):
        save(tmp_path, *(f"{part}/{clip}/{n}.jpg" for clip in ("one", "two") for n in range(3)))
    frames = {"layout": "folders"}
    for kind, options in ((ImageFolder, {}), (FrameFolder, frames)):
        train, val = sides(kind, tmp_path, **options)
        assert inside(train, tmp_path / "Training")
        assert inside(val, tmp_path / "Valid")
        train, val = sides(kind, tmp_path, split_folders=False, **options)
        assert not inside(train, tmp_path / "Training")
    (tmp_path / "all.csv").write_text("Valid/one,3\nValid/two,3\nTraining/one,3\n")
    train, val = sides(FrameFolder, tmp_path, lists=["all.csv"], **frames)
    assert train == {str(tmp_path / "Training/one")}
    # folders of frames that are parts themselves
    save(tmp_path / "flat", *(f"{part}/{n}.png" for part in ("train", "test") for n in range(3)))
    train, val = sides(FrameFolder, tmp_path / "flat", **frames)
    assert (train, val) == ({str(tmp_path / "flat/train")}, {str(tmp_path / "flat/test")})


def test_pairs_keep_to_the_parts_of_their_frames_and_lists(tmp_path: Path) -> None:
    clips = ("train/a", "train/b", "val/a", "val/b")
    save(tmp_path, *(f"{clip}/{n}.jpg" for clip in clips for n in range(2)))
    lines = {clip: f"{clip}/0.jpg {clip}/1.jpg {clip}/0.flo\n" for clip in clips}
    (tmp_path / "pairs.txt").write_text("".join(lines.values()))
    train, val = sides(FrameFolder, tmp_path, layout="pairs")
    assert inside(train, tmp_path / "train")
    assert inside(val, tmp_path / "val")
    (tmp_path / "pairs.txt").unlink()
    # the lists decide, whatever the folders are called
    (tmp_path / "Training.txt").write_text(lines["train/a"] + lines["val/b"])
    (tmp_path / "testing.txt").write_text(lines["val/a"])
    train, val = sides(FrameFolder, tmp_path, layout="pairs")
    assert train == {str(tmp_path / f"{clip}/0.jpg") for clip in ("train/a", "val/b")}
    assert val == {str(tmp_path / "val/a/0.jpg")}


def test_videos_lists_and_shards_keep_to_the_parts(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for part in ("train", "testing"):
        for name in "ab":
            (root / part / "yoga").mkdir(parents=True, exist_ok=True)
            write_video(root / part / "yoga" / f"{name}.mp4", 3)
    train, val = sides(VideoFolder, root)
    assert inside(train, root / "train")
    assert inside(val, root / "testing")
    assert VideoFolder(root, split="train", labels=True).classes == ("yoga",)
    (root / "all.txt").write_text("testing/yoga/a.mp4\ntrain/yoga/b.mp4\ntrain/yoga/a.mp4\n")
    train, val = sides(VideoFolder, root, lists=["all.txt"])
    assert val == {str(root / "testing/yoga/a.mp4")}
    # a validation folder that is inside the root is not trained on
    train, val = sides(VideoFolder, root, val_root=root / "train" / "yoga", split_folders=False)
    assert inside(train, root / "testing")
    with pytest.raises(UserError, match=r"All files in .* are in .* too"):
        VideoFolder(root, split="train", val_root=root)
    prepare("shards", root=root, output=tmp_path / "shards", short_side=None)
    train, val = sides(ClipShards, str(tmp_path / "shards"), flow=None)
    assert train == {"train/yoga/a.mp4", "train/yoga/b.mp4"}
    assert val == {"testing/yoga/a.mp4", "testing/yoga/b.mp4"}


def test_classes_are_not_the_parts_of_loose_videos(tmp_path: Path) -> None:
    for name in ("train/a.mp4", "train/run/b.mp4", "val/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = VideoFolder(tmp_path, labels=True, split="train")
    assert source.classes == ("run",)
    assert source._list.actions is not None
    assert source._list.actions.tolist() == [-1, 0]

"""BADJA: scores at their limits, the read-out, files, and the whole task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.badja_files import BadjaFolder
from selfsup_motion.tasks.propagation.badja_metrics import marked_cells, mean_positions, pck_t


def test_pck_counts_visible_joints_after_the_first_frame():
    truth = np.random.default_rng(0).uniform(0, 100, (4, 5, 2))
    visible, areas = np.ones((4, 5), bool), np.full(4, 400.0)
    assert pck_t(truth, truth, visible, areas) == 100
    far = truth + np.array([4.0, 0])  # as far as .2 of the root of the area
    assert pck_t(far, truth, visible, areas) == 0
    assert pck_t(truth + np.array([3.99, 0]), truth, visible, areas) == 100
    far[1:3] = truth[1:3]
    visible[3] = False
    far[0] += 100
    assert pck_t(far, truth, visible, areas) == 100, "the first and the hidden ones do not count"
    assert np.isnan(pck_t(truth, truth, np.zeros_like(visible), areas))


def test_mark_is_read_where_it_was_made_and_stays_where_nothing_is_known():
    points = np.array([[12.0, 20.0], [600.0, -3.0], [5.0, 5.0]])
    maps = marked_cells(points, 8, (6, 9))
    assert maps.sum() == 3
    assert maps[0, 2, 1] == maps[1, 0, 8] == 1
    maps[2] = 0.5
    found = mean_positions(maps, 8, (48, 72), points)
    np.testing.assert_allclose(found[0], (11.5, 19.5), atol=1e-6)  # the centre of its cell
    np.testing.assert_array_equal(found[2], points[2])
    assert torch.equal(marked_cells(found, 8, (6, 9))[0], maps[0])


def write_badja(root: Path, name: str = "dog", count: int = 7) -> Path:
    """A video of a square that moves, its corners and its centre, annotated from frame 1 on."""
    images, masks = (root / "DAVIS" / p / "480p" / name for p in ("JPEGImages", "Annotations"))
    for folder in (images, masks, root / "joint_annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for time in range(count):
        image, left = np.full((64, 96, 3), 90, np.uint8), 8 + 6 * time
        image[16:40, left : left + 12], image[16:40, left + 12 : left + 24] = (
            (40, 40, 250),
            (250, 90, 0),
        )
        cv2.imwrite(str(images / f"{time:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
        if time in (1, 4, 6):
            cv2.imwrite(
                str(masks / f"{time:05d}.png"), 255 * (image[..., 0] != 90).astype(np.uint8)
            )
            joints = [[28, left + 6]] * 18 + [[28, left + 18]] * 19  # y, x
            hidden = [22] if time == 1 else [23, 24] if time == 4 else []
            entries.append({
                "image_path": f"DAVIS/JPEGImages/480p/{name}/{time:05d}.jpg",
                "segmentation_path": f"DAVIS/Annotations/480p/{name}/{time:05d}.png",
                "joints": joints, "visibility": [row not in hidden for row in range(37)],
            })  # fmt: skip
    (root / f"joint_annotations/{name}.json").write_text(json.dumps(entries))
    return root


def test_published_layout_is_read(tmp_path):
    video = BadjaFolder(str(write_badja(tmp_path)), videos=["dog"]).open("dog")
    assert video.frame_names == [f"{t:05d}" for t in range(1, 7)]
    points, visible = video.joints()
    assert points.shape == (6, 20, 2)
    np.testing.assert_array_equal(points[0, 0], (8 + 6 + 6, 28))
    assert visible.sum(1).tolist() == [19, 0, 0, 18, 0, 20]
    assert video.animal(0).sum() == 24 * 24
    assert video.animal(1) is None


def test_joints_of_the_real_annotations_are_read(tmp_path, shared):
    real = shared / "data/keypoints/badja/dog.json"
    entries = json.loads(real.read_text())
    root = write_badja(tmp_path)
    (root / "joint_annotations/dog.json").write_bytes(real.read_bytes())
    for entry in entries:
        image = root / entry["image_path"]
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
    video = BadjaFolder(str(root), videos=None).open("dog")
    points, visible = video.joints()
    assert points.shape[1:] == (20, 2)
    assert (points[visible] > 0).all()
    assert points[..., 0].max() < 1920
    assert points[..., 1].max() < 1080


def test_videos_without_images_are_left_out(tmp_path, caplog):
    root = write_badja(tmp_path)
    shutil.copy(root / "joint_annotations/dog.json", root / "joint_annotations/tiger.json")
    text = (root / "joint_annotations/tiger.json").read_text().replace("/dog/", "/tiger/")
    (root / "joint_annotations/tiger.json").write_text(text)
    assert BadjaFolder(str(root), videos=None).names == ["dog"]
    assert "tiger: without images or annotation, left out." in caplog.text
    assert BadjaFolder(str(root), videos=["bear", "dog"]).names == ["dog"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "expected a list of {image_path"),
        ('[{"image_path": "x"}]', r"dog\.json: expected a list .* entry 0 is not"),
        ("{", "not a JSON file"),
        ("[3]", "entry 0 is not"),
    ],
)
def test_wrong_annotations_are_refused(tmp_path, content, expected):
    root = write_badja(tmp_path)
    (root / "joint_annotations/dog.json").write_text(content)
    with pytest.raises(UserError, match=expected):
        BadjaFolder(str(root), videos=["dog"])


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="expected BADJA's folder, with joint_annotations"):
        BadjaFolder(str(tmp_path), videos=None)
    root = write_badja(tmp_path)
    (root / "DAVIS/JPEGImages/480p/dog/00004.jpg").unlink()
    with pytest.raises(UserError, match=r"dog\.json: names .*00004\.jpg, which is not there"):
        BadjaFolder(str(root), videos=["dog"]).open("dog")
    shutil.rmtree(root / "DAVIS")
    with pytest.raises(UserError, match="the images of dog are not there, for example DAVIS/JPEG"):
        BadjaFolder(str(root), videos=["dog"])


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    return partial(command, "evaluate")


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def test_joints_are_followed_and_taken_over_if_whole(evaluate, tmp_path, capsys):
    write_badja(tmp_path / "b")
    run = ("task=badja", "data.root=b", "encoder=lab_color", "task.size=[128,192]")
    assert evaluate(*run, "paths.output_dir=run", "overlay=true") == 0
    told = capsys.readouterr().out
    assert "dog: 1 of 20 joints are hidden in the first frame" in told
    found = summary("run")
    assert found["metrics"]["PCK_T@0.2"] > 90
    assert found["baselines"]["identity"]["PCK_T@0.2"] == 0
    file = Path("run/points/dog.npy")
    points = np.load(file)
    assert points.shape == (6, 20, 2)
    assert points[0, 0] == pytest.approx([20, 28])
    assert Path("run/overlays/dog.mp4").stat().st_size > 500
    whole = file.read_bytes()
    file.write_bytes(whole[:300])
    assert evaluate(*run, "resume=run") == 0
    assert "dog.npy is damaged: computed again." in capsys.readouterr().out
    assert file.read_bytes() == whole
    assert summary("run")["metrics"] == found["metrics"]


def test_toy_joints_are_followed(evaluate, tmp_path):
    toy = ("data=toy", "data.size=64", "data.difficulty.puppet=1", "data.sequences.length=3",
           "data.sequences.source.num_videos=2", "task.size=null")  # fmt: skip
    assert evaluate("task=badja", *toy, "encoder=color_patches", "paths.output_dir=run") == 0
    assert 0 < summary("run")["metrics"]["PCK_T@0.2"] <= 100
    assert len(list(Path("run/points").glob("*.npy"))) == 2

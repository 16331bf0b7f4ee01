"""VIP: average precision of instances, files, and the whole task."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from selfsup_motion.data.reading.label_classes import LabelClasses
from selfsup_motion.data.reading.masks import read_ids
from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import ColorPatches
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.soft_following import follow_maps
from selfsup_motion.tasks.propagation.tracking import follow_masks
from selfsup_motion.tasks.propagation.vip_files import VipFolder
from selfsup_motion.tasks.propagation.vip_metrics import PartPrecision, area_under

CLASSES = LabelClasses([f"c{i}" for i in range(20)], [])


def boxes(*places: tuple[int, int, int]) -> np.ndarray:
    """(20, 40) ids: `(id, left, right)` each."""
    ids = np.zeros((20, 40), np.uint8)
    for number, left, right in places:
        ids[:, left:right] = number
    return ids


def test_perfect_instances_have_precision_one():
    found = PartPrecision(4)
    ids = boxes((1, 0, 10), (2, 10, 20), (5, 20, 30))
    classes = {1: 2, 2: 2, 5: 3}
    found.add(ids, classes, ids, {i: (c, 0.5) for i, c in classes.items()})
    table = found.average()
    assert np.isnan(table[0]).all(), "no instance of class 1"
    assert (table[1:] == 1).all()


def test_precision_counts_by_score_and_overlap():
    found = PartPrecision(2)
    truth = boxes((1, 0, 10), (2, 20, 30))
    # the surest is wrong, the next has an IoU of one half, and another image has a false one
    found.add(truth, {1: 1, 2: 1}, boxes((1, 12, 18), (2, 20, 25)), {1: (1, 0.9), 2: (1, 0.8)})
    found.add(boxes(), {}, boxes((1, 0, 9)), {1: (1, 0.1)})
    loose, exact, strict = found.average([0.4, 0.5, 0.6])[0]
    assert loose == pytest.approx(0.5 * 0.5), "one of two found, second in the order"
    assert exact == strict == 0, "the IoU must be above the threshold"


def test_predictions_of_another_class_or_without_pixels_find_nothing():
    found = PartPrecision(3)
    truth = boxes((1, 0, 10))
    found.add(truth, {1: 1}, truth, {1: (2, 1.0), 7: (1, 1.0)})
    assert (found.average()[0] == 0).all()


def test_area_under_the_curve_uses_the_best_precision_still_to_come():
    right = np.array([False, True, True, False, True])
    # precision 0, 1/2, 2/3, 1/2, 3/5 at recall 0, 1/4, 1/2, 1/2, 3/4
    assert area_under(right, 4) == pytest.approx((2 / 3 + 2 / 3 + 3 / 5) / 4)
    assert area_under(np.zeros(0, bool), 4) == 0


def scene(count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """(T, 48, 64, 3) frames and (T, 48, 64) ids: two squares, 3 and 7, move over grey."""
    frames = np.full((count, 48, 64, 3), 90, np.uint8)
    ids = np.zeros((count, 48, 64), np.uint8)
    for time in range(count):
        for number, top, left, colour in ((3, 4, 4, (250, 40, 40)), (7, 24, 20, (40, 40, 250))):
            place = slice(top, top + 16), slice(left + 4 * time, left + 4 * time + 16)
            frames[time][place], ids[time][place] = colour, number
    return frames, ids


@pytest.mark.parametrize("hard", [False, True])
def test_maps_are_followed_together_as_each_alone(hard):
    frames, ids = scene()
    encoder, propagator = FrameEncoder(ColorPatches()), LabelPropagator(hard=hard)
    stills = frames.transpose(0, 3, 1, 2)
    maps = [ids[0], np.where(ids[0] == 7, 1, 0).astype(np.uint8)]
    together = list(follow_maps(encoder, propagator, stills, maps))
    for number, given in enumerate(maps):
        alone = list(follow_masks(encoder, propagator, stills, given))
        for row, mask in zip(together, alone, strict=True):
            np.testing.assert_array_equal(row[number].ids, mask)
            assert set(row[number].confidence) == set(np.unique(mask).tolist())
            assert all(0.5 < c <= 1 for c in row[number].confidence.values())


def write_vip(root: Path, *names: str, every: int = 2, instances: bool = True) -> Path:
    """Videos in VIP's layout, of which every other frame is labelled."""
    for name in names or ("videos1", "videos10"):
        frames, ids = scene(5)
        for part in ("Images", "Category_ids", *(["Instance_ids"] if instances else [])):
            (root / part / name).mkdir(parents=True)
        for time in range(5):
            stem = f"{name}/{25 * time:012d}"
            cv2.imwrite(str(root / f"Images/{stem}.jpg"), frames[time][..., ::-1])
            if time % every:
                continue
            cv2.imwrite(str(root / f"Category_ids/{stem}.png"), ids[time])
            if instances:
                table = np.zeros(8, np.uint8)
                table[[3, 7]] = 1, 2
                cv2.imwrite(str(root / f"Instance_ids/{stem}.png"), table[ids[time]])
                (root / f"Instance_ids/{stem}.txt").write_text("1 3 1\n2 7 1\n")
    return root


def test_frames_without_truth_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    video = VipFolder(str(write_vip(tmp_path)), split="val", classes=CLASSES).open("videos1")
    assert video.frame_names == [f"{25 * t:012d}" for t in (0, 2, 4)]
    assert "videos1: 3 of 5 frames are labelled, the others are left out." in caplog.text
    assert len(list(video.frames())) == 3
    assert video.instances(1).classes == {1: 3, 2: 7}
    (tmp_path / f"Instance_ids/videos1/{50:012d}.txt").write_text("")
    assert not video.instances(1).ids.any(), "nobody is there"


def test_lists_name_videos_or_frames(tmp_path):
    root = write_vip(tmp_path)
    assert VipFolder(str(root), split="val", classes=CLASSES).names == ["videos1", "videos10"]
    (root / "lists").mkdir()
    (root / "lists/val_id.txt").write_text(f"videos10/{0:012d}\nvideos10/{50:012d}\nvideos77/1\n")
    assert VipFolder(str(root), split="val", classes=CLASSES).names == ["videos10"]
    (root / "Annotations").mkdir()
    for part in ("Category_ids", "Instance_ids"):
        (root / part).rename(root / "Annotations" / part)
    assert VipFolder(str(root), split="val", classes=CLASSES).open("videos10").instances(0)


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda r: [p.unlink() for p in r.glob("Category_ids/*/*")], "none of the 5 frames of"),
        (
            lambda r: [p.rename(r / "x") for p in [r / "Images"]],
            "expected VIP's folder with Images",
        ),
        (lambda r: (r / "Images/videos1").rename(r / "y"), "its frames are missing"),
        (
            lambda r: cv2.imwrite(str(r / f"Category_ids/videos1/{0:012d}.png"), np.zeros((9, 9))),
            "is 48x64 pixels, its label map 9x9",
        ),
        (
            lambda r: (r / f"Instance_ids/videos1/{0:012d}.txt").write_text("1 x\n"),
            "0.txt:1: expected the id of an instance and its class",
        ),
        (lambda r: (r / f"Instance_ids/videos1/{0:012d}.txt").unlink(), "0.txt"),
        (
            lambda r: cv2.imwrite(
                str(r / f"Category_ids/videos1/{0:012d}.png"), np.eye(48, 64)[..., None] * [1, 2, 3]
            ),
            "expected an indexed or grey PNG of ids",
        ),
    ],
)
def test_wrong_files_are_named(tmp_path, break_it: Callable[[Path], Any], expected):
    break_it(write_vip(tmp_path, "videos1"))

    def read() -> None:
        video = VipFolder(str(tmp_path), split="val", classes=CLASSES).open("videos1")
        next(video.frames())
        video.instances(0)

    with pytest.raises(UserError, match=expected) as caught:
        read()
    assert "\n" not in str(caught.value)


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    return partial(command, "evaluate")


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def test_official_layout_is_scored_and_taken_over_if_whole(evaluate, tmp_path, capsys):
    write_vip(tmp_path / "vip", "videos1")
    run = ("task=vip", "data.root=vip", "encoder=color_patches", "task.size=[96,128]")
    assert evaluate(*run, "paths.output_dir=run", "overlay=true") == 0
    found = summary("run")
    identity = found["baselines"]["identity"]
    metrics = found["metrics"]
    assert metrics["miou"] >= metrics["miou_without_first"] > 0.9
    assert metrics["AP_r@0.5"] == 1
    assert metrics["AP_r_without_first"] > identity["AP_r_without_first"] + 0.5
    assert identity["AP_r"] > identity["AP_r_without_first"]
    assert 0.5 > identity["miou"] > identity["miou_without_first"]
    first = Path("run/results/videos1/global_parsing/000000000000.png")
    np.testing.assert_array_equal(read_ids(first), scene(1)[1][0])
    listed = Path("run/results/videos1/instance_parsing/000000000100.txt").read_text()
    assert [line.split()[0] for line in listed.splitlines()] == ["3", "7"]
    assert Path("run/overlays/videos1.mp4").stat().st_size > 500
    table = Path("run/per_class.csv").read_text().splitlines()
    assert table[0].startswith("class,iou,iou_without_first,AP_r@0.1")
    assert table[2].startswith("hat,,"), "a class that is nowhere has no score"

    damaged = Path("run/results/videos1/instance_parsing/000000000100.png")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:40])
    capsys.readouterr()
    assert evaluate(*run, "resume=run") == 0
    assert "videos1 is damaged or incomplete: computed again." in capsys.readouterr().out
    assert damaged.read_bytes() == whole
    assert summary("run")["metrics"] == metrics


def test_without_instances_only_classes_are_scored(evaluate, tmp_path, capsys):
    write_vip(tmp_path / "vip", "videos1", instances=False)
    run = ("task=vip", "data.root=vip", "encoder=identity", "task.size=null")
    assert evaluate(*run, "paths.output_dir=run", "task.baselines=[]") == 0
    assert set(summary("run")["metrics"]) == {
        "miou", "miou_without_first", "pixel_accuracy", "mean_accuracy",
    }  # fmt: skip
    for file in Path("vip/Category_ids/videos1").glob("*.png"):
        cv2.imwrite(str(file), np.full((48, 64), 255, np.uint8))
    assert evaluate(*run, "paths.output_dir=other") == 2
    assert "has nothing but background, there is nothing to follow" in capsys.readouterr().err


def test_toy_parts_are_followed(evaluate, tmp_path):
    toy = ("data=toy", "data.size=64", "data.difficulty.puppet=1", "data.sequences.length=3",
           "data.sequences.source.num_videos=2", "task.size=null")  # fmt: skip
    assert evaluate("task=vip", *toy, "encoder=color_patches", "paths.output_dir=run") == 0
    metrics = summary("run")["metrics"]
    assert 0 < metrics["miou_without_first"] < metrics["miou"] < 1
    assert 0 < metrics["AP_r"] < 1

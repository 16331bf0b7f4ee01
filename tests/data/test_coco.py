"""COCO's annotation files: what is read of them, and what is refused."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from coco_like import SIZE, annotation, content, polygon, write_coco
from pycocotools.coco import COCO

from selfsup_motion.data.sources.coco import CocoInstances
from selfsup_motion.data.sources.coco_file import read_categories
from selfsup_motion.errors import ClipReadError, UserError

SAMPLES = [
    ("labelme/annotations.json", "labelme"),
    ("mmpose/test_coco.json", "mmpose/images"),
    ("mmpose/test_coco_wholebody.json", "mmpose/images"),
]


def quiet_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path)


def test_labels_of_an_image_with_objects_and_a_crowd(files: tuple[Path, Path]) -> None:
    source = CocoInstances(*files, objects_only=False)
    clip = source.read(0, [0])
    assert clip.key == "000000000007.jpg" == source.info(0).key
    assert clip.frames.shape == (1, 3, *SIZE)
    assert clip.labels["image_id"] == 7
    assert clip.labels["categories"].tolist() == [3, 18, 3]
    assert clip.labels["crowd"].tolist() == [True, False, False]
    assert clip.labels["boxes"].tolist()[2] == [10.5, 8.25, 12.5, 20]
    assert clip.labels["areas"].tolist() == [30 * 40, 200, 250]
    masks = clip.labels["object_masks"]
    assert masks.shape == (3, *SIZE)
    assert masks.dtype == np.bool_
    right = np.zeros(SIZE, np.bool_)
    right[:, 30:] = True
    np.testing.assert_array_equal(masks[0], right)
    assert masks[1].sum() == 200
    assert masks[1][6:16, 4:24].all()


def test_images_without_objects_are_kept_or_left_out(files: tuple[Path, Path]) -> None:
    every = CocoInstances(*files, objects_only=False)
    assert [every.info(i).key[-6:-4] for i in range(len(every))] == ["07", "02", "30", "04"]
    empty = every.read(1, [0]).labels
    assert empty["object_masks"].shape == (0, *SIZE)
    assert empty["boxes"].shape == (0, 4)
    some = CocoInstances(*files, objects_only=True)
    assert [int(some.read(i, [0]).labels["image_id"]) for i in range(len(some))] == [7, 30]


def test_categories_are_those_of_the_file_by_id(files: tuple[Path, Path]) -> None:
    assert list(read_categories(files[0]).items()) == [(3, "car"), (18, "dog"), (90, "toothbrush")]


def test_a_source_survives_pickling(files: tuple[Path, Path]) -> None:
    source = CocoInstances(*files, objects_only=False)
    twin = pickle.loads(pickle.dumps(source))
    for name, value in source.read(2, [0]).labels.items():
        np.testing.assert_array_equal(value, twin.read(2, [0]).labels[name])


@pytest.mark.parametrize(("annotations", "images"), SAMPLES)
def test_masks_of_real_samples_equal_those_of_pycocotools(
    shared: Path, annotations: str, images: str
) -> None:
    path = shared / "data" / "coco" / annotations
    source = CocoInstances(path, shared / "data" / "coco" / images, objects_only=False)
    coco = quiet_coco(path)
    assert len(source) == len(coco.imgs)
    total = 0
    for index in range(len(source)):
        clip = source.read(index, [0])
        wanted = coco.imgToAnns[int(clip.labels["image_id"])]
        assert len(wanted) == len(clip.labels["boxes"])
        for number, entry in enumerate(wanted):
            np.testing.assert_array_equal(
                clip.labels["object_masks"][number], coco.annToMask(entry)
            )
            assert clip.labels["boxes"][number].tolist() == entry["bbox"]
            assert clip.labels["areas"][number] == entry["area"]
            assert clip.labels["categories"][number] == entry["category_id"]
        total += len(wanted)
    assert total == len(coco.anns) > 0


def test_compressed_run_lengths_are_read(tmp_path: Path) -> None:
    made = content()
    made["annotations"] = [annotation(1, 7, [4, 6, 20, 10])]
    plain = CocoInstances(*write_coco(tmp_path / "a", made), objects_only=True)
    rle = plain.file.rle(0, SIZE)
    made["annotations"][0]["segmentation"] = rle
    packed = CocoInstances(*write_coco(tmp_path / "b", made), objects_only=True)
    np.testing.assert_array_equal(
        plain.read(0, [0]).labels["object_masks"], packed.read(0, [0]).labels["object_masks"]
    )


Change = Callable[[dict[str, Any]], None]


def _change(part: str, number: int, **values: Any) -> Change:
    def change(made: dict[str, Any]) -> None:
        for key, value in values.items():
            if value is None:
                del made[part][number][key]
            else:
                made[part][number][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _change("annotations", 2, category_id=5),
            r"annotations\[2\] has the unknown category_id 5",
        ),
        (_change("annotations", 2, image_id=99), r"annotations\[2\] is of image 99, which is not"),
        (_change("annotations", 2, segmentation=[[1, 2, 3, 4]]), r"annotations\[2\] .* polygon"),
        (_change("annotations", 2, segmentation=[polygon(1, 1, 5, 5)[0][:-1]]), "broken polygon"),
        (_change("annotations", 2, segmentation=[[1, 2, "x", 4, 5, 6]]), "broken polygon"),
        (_change("annotations", 2, segmentation=[[1, 2, float("nan"), 4, 5, 6]]), "broken polygon"),
        (_change("annotations", 0, segmentation={"size": [1, 1], "counts": [1]}), "do not fit"),
        (_change("annotations", 0, segmentation={"size": [40, 60], "counts": [5]}), "do not fit"),
        (_change("annotations", 0, segmentation={"size": [40, 60], "counts": "04"}), "do not fit"),
        (_change("annotations", 2, bbox=[1, 2, 3]), r"annotations\[2\] has the bbox \[1, 2, 3\]"),
        (_change("annotations", 2, area=None), r"annotations\[2\] has no area"),
        (_change("images", 1, height=None), r"images\[1\] has no height"),
        (_change("images", 1, id=7), r"images\[1\] has the id 7 of images\[0\]"),
        (
            _change("images", 1, file_name="gone.jpg"),
            r"1 of 4 images .*images\[1\] \(gone.jpg\) is not below .*set data\.images",
        ),
        (lambda made: made.pop("categories"), "no list of categories"),
        (lambda made: made.update(images=[], annotations=[]), "no images"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(
    tmp_path: Path, change: Change, message: str
) -> None:
    annotations, images = write_coco(tmp_path)
    made = copy.deepcopy(content())
    change(made)
    annotations.write_text(json.dumps(made))
    with pytest.raises(UserError, match=message) as caught:
        CocoInstances(annotations, images, objects_only=False)
    assert str(annotations) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": "x1"}, "has the id 'x1', expected a whole number"),
        ({"id": 1.5}, "has the id 1.5, expected a whole number"),
        ({"id": True}, "has the id True, expected a whole number"),
        ({"id": 1e30}, r"has the id 1e\+30, expected"),
        ({"id": 11}, "has the id 11 of an annotation before it"),
        ({"image_id": "7"}, "has the image_id '7', expected a whole number"),
        ({"image_id": 99}, "is of image 99, which is not among the usable images"),
        ({"category_id": 5}, "has the unknown category_id 5"),
        ({"category_id": None}, "has no category_id"),
        ({"segmentation": []}, "has no segmentation"),
        ({"segmentation": None}, "has no segmentation"),
        ({"segmentation": "none"}, "has the segmentation 'none', expected polygons or run"),
        ({"segmentation": [*polygon(4, 6, 20, 10), [4, 4, 8, 8]]}, "three or more corners"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e12]]}, "has a broken polygon"),
        ({"segmentation": [[]]}, "has a broken polygon"),
        ({"segmentation": polygon(70, 50, 5, 5)}, "has polygons outside its image of 60x40"),
        ({"segmentation": {"size": list(SIZE), "counts": [3000, -600]}}, "do not fit its image"),
        ({"segmentation": {"counts": []}}, "do not fit its image"),
        ({"bbox": [4, 6, float("nan"), 10]}, "expected four numbers"),
        ({"bbox": [4, 6, -20, 10]}, "expected x, y, width, height from 0 up"),
        ({"bbox": [64, 6, 20, 10]}, "outside its image of 60x40"),
        ({"bbox": "4 6 20 10"}, "expected four numbers"),
        ({"area": float("inf")}, "has the area inf, expected a number of pixels"),
        ({"area": "big"}, "has the area 'big'"),
        ({"iscrowd": "no"}, "has iscrowd 'no', expected 0 or 1"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, values: dict[str, Any], reason: str
) -> None:
    made = content()
    made["annotations"][2] |= values
    with caplog.at_level(logging.WARNING):
        source = CocoInstances(*write_coco(tmp_path, made), objects_only=False, max_bad_entries=0.2)
    assert source.read(0, [0]).labels["categories"].tolist() == [3, 3]
    (message,) = caplog.messages
    assert "1 of 5 annotations cannot be used and are left out: annotations[2] " in message
    assert re.search(reason, message)
    with pytest.raises(
        UserError, match=r"1 of 5 annotations .* data\.max_bad_entries=0\.19 allows"
    ):
        CocoInstances(*write_coco(tmp_path / "few", made), objects_only=False, max_bad_entries=0.19)


def test_images_and_categories_that_cannot_be_used_take_their_annotations_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = content()
    made["images"][0]["width"] = 0
    made["categories"].append({"id": 3.5, "name": "bus"})
    made["categories"].append({"id": 18, "name": "cow"})
    made["annotations"].append(None)
    paths = write_coco(tmp_path, made)
    with caplog.at_level(logging.WARNING):
        source = CocoInstances(*paths, objects_only=False, max_bad_entries=0.7)
    assert [int(source.read(i, [0]).labels["image_id"]) for i in range(len(source))] == [2, 30, 4]
    assert "images[0] has the width 0, expected at least 1" in caplog.text
    assert "categories[3] has the id 3.5, expected a whole number" in caplog.text
    assert "categories[4] has the id 18 of another category, dog" in caplog.text
    assert "annotations[0] is of image 7, which is not among the usable images" in caplog.text
    assert "annotations[5] is not a mapping" in caplog.text
    assert read_categories(paths[0], max_bad_entries=0.4) == {3: "car", 18: "dog", 90: "toothbrush"}
    with pytest.raises(UserError, match="2 of 5 categories"):
        read_categories(paths[0])
    with pytest.raises(UserError, match="expected a share from 0 to 1"):
        read_categories(paths[0], max_bad_entries=2)


def test_two_images_of_one_id_are_one_or_none(tmp_path: Path) -> None:
    made = content()
    made["images"].append(dict(made["images"][0]))  # the same once more
    source = CocoInstances(
        *write_coco(tmp_path / "a", made), objects_only=True, max_bad_entries=0.5
    )
    assert [int(source.read(i, [0]).labels["image_id"]) for i in range(len(source))] == [7, 30]
    made["images"][-1]["file_name"] = "other.jpg"  # whose are the annotations?
    source = CocoInstances(
        *write_coco(tmp_path / "b", made), objects_only=True, max_bad_entries=0.8
    )
    assert [int(source.read(i, [0]).labels["image_id"]) for i in range(len(source))] == [30]


def test_images_without_a_file_are_left_out_up_to_a_share(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotations, images = write_coco(tmp_path)
    (images / "000000000007.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        source = CocoInstances(annotations, images, objects_only=False, max_bad_entries=0.25)
    assert [source.info(i).key[-6:-4] for i in range(len(source))] == ["02", "30", "04"]
    assert "1 of 4 images cannot be used" in caplog.text
    assert "images[0] (000000000007.jpg) is not below" in caplog.text


def test_numbers_and_polygons_in_other_spellings_are_read(tmp_path: Path) -> None:
    made = content()
    made["annotations"][2] |= {"id": 12.0, "image_id": 7.0, "category_id": 18.0}
    made["annotations"][2]["segmentation"] = [[[4, 6], [24, 6], [24, 16], [4, 16]]]
    same = CocoInstances(*write_coco(tmp_path / "a", made), objects_only=True).read(0, [0])
    usual = CocoInstances(*write_coco(tmp_path / "b"), objects_only=True).read(0, [0])
    for name, value in usual.labels.items():
        np.testing.assert_array_equal(same.labels[name], value)


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json cannot be read .*set data.annotations"):
        CocoInstances(tmp_path / "none.json", tmp_path, objects_only=False)
    write_coco(tmp_path / "coco")
    with pytest.raises(UserError, match=r"coco has annotations/instances_train2017\.json, ann"):
        read_categories(tmp_path / "coco" / "train" / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match=r"bad\.json: not a JSON file"):
        CocoInstances(tmp_path / "bad.json", tmp_path, objects_only=False)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match=r"list\.json: not a COCO annotation file"):
        read_categories(tmp_path / "list.json")


def test_a_data_set_without_anything_to_learn_is_refused(tmp_path: Path) -> None:
    made = content()
    made["annotations"] = [made["annotations"][0]]  # a crowd
    with pytest.raises(UserError, match="no image with an object to learn from"):
        CocoInstances(*write_coco(tmp_path, made), objects_only=True)


def test_an_image_of_another_size_is_an_unreadable_one(files: tuple[Path, Path]) -> None:
    source = CocoInstances(*files, objects_only=False)
    cv2.imwrite(str(files[1] / "000000000030.jpg"), np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(ClipReadError, match=r"30\.jpg has 50x60 pixels .* says 40x60") as caught:
        source.read(2, [0])
    assert caught.value.reason == "other size"
    (files[1] / "000000000007.jpg").write_bytes(b"no image")
    with pytest.raises(ClipReadError, match="damaged"):
        source.read(0, [0])
    with pytest.raises(ClipReadError, match="no frame 3"):
        source.read(1, [3])

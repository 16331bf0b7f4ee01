"""The order of frames, by the numbers in their names."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfsup_motion.apps.propagate_input import open_frames
from selfsup_motion.data.preparation.inputs import find_input
from selfsup_motion.data.reading.frame_order import in_order, list_frames
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.errors import ClipReadError
from selfsup_motion.tasks.propagation.davis_files import DavisFolder
from selfsup_motion.tasks.propagation.jhmdb_files import JhmdbFolder

ORDERS = {
    "no padding": "frame_1 frame_2 frame_10 frame_11",
    "padding of several widths": "007 8 0009 10",
    "one digit more": "clip_9998 clip_9999 clip_10000",
    "no separator": "img8 img9 img10",
    "nothing but numbers": "8 9 10 100",
    "a number before": "v2_frame1 v2_frame2 v2_frame12",
    "two numbers": "v2_frame1 v2_frame12 v10_frame1 v10_frame3",
    "dates": "IMG-2024-01-01_3 IMG-2024-01-01_12 IMG-2024-01-02_1",
    "dates with points": "2024.9.1 2024.9.12 2024.11.1",
    "clock times": "10:09:08 10:09:59 10:10:01",
    "time stamps": "1699999999.5 1700000000.25 1700000000.5 1700000001",
    "seconds": "0.04 0.08 0.12 0.2 0.24 1.0 10.5",
    "short seconds": "0.25 0.5 0.75",
    "between two frames": "frame000001 frame000001.25 frame000001.5 frame000002",
    "shot and frame": "1.1 1.2 1.9 1.10 1.11 2.1",
    "a name of a video before": "clip.mp4.3 clip.mp4.6 clip.mp4.9 clip.mp4.12",
    "a version before": "v1.2.3_9 v1.2.3_10",
    "bursts": "IMG_20240101_120000 IMG_20240101_120000_1 IMG_20240101_120000_2 IMG_20240101_120001",
    "copies of a browser": "image|image (1)|image (2)|image (10)",
    "something behind": "9_left 10_left 100_left",
    "an id behind": "f_0001_jpg.rf.9a7 f_0002_jpg.rf.1b22c f_0010_jpg.rf.0",
    "one file exported again": "frame5 frame6_v2 frame7",
    "other case": "frame8 Frame9 FRAME10",
    "other separators": "img_8|img-9|img10|img 11",
    "mixed beginnings": "b_1 a_2 b_10 a_11",
    "mixed beginnings of dates": "IMG_20240101_10 VID_20240102_3 IMG_20240103_1",
    "an id before": "b77c_0001 a3f9_0002 0d1e2_0010",
    "negative": "-2 -1 0 1 10",
    "negative behind a separator": "t_-10 t_-9 t_0 t_3",
    "no number": "a b c",
    "no number, other case": "Alpha beta Gamma",
    "other digits": "٨ ٩ ١٠",
    "one": "only",
}


@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS)
def test_frames_are_in_the_order_of_their_numbers(names: str) -> None:
    expected = [f"{stem}.jpg" for stem in names.split("|" if "|" in names else " ")]
    for seed in range(5):
        shuffled = random.Random(seed).sample(expected, len(expected))
        assert in_order(shuffled, "folder") == expected


def test_extensions_may_differ() -> None:
    assert in_order(["3.png", "10.JPG", "2.jpeg"], "folder") == ["2.jpeg", "3.png", "10.JPG"]


REFUSED = {
    "7.jpg 8.jpg 007.jpg": "007.jpg and 7.jpg have the same number",
    "a-1.jpg a_1.jpg a_2.jpg": "a-1.jpg and a_1.jpg have the same number",
    "00000.jpg 00001.jpg 00001.png": "has 00001.jpg and 00001.png, and only one of them can be",
    "1_image.png 1_mask.png 2_image.png": "1_image.png and 1_mask.png have the same number",
    "left_1.jpg left_2.jpg right_1.jpg": "left_1.jpg and right_1.jpg have the same number",
    "cover.jpg frame_1.jpg frame_2.jpg": "cover.jpg has no number, unlike frame_1.jpg",
    "1.50.jpg 1.5.jpg 1.6.jpg 1.05.jpg": "1.05.jpg and 1.5.jpg have the same number",
    "2.25.jpg 2.5.jpg 2.75.jpg 3.75.jpg": "have decimal fractions or two numbers each",
    "a3f9.jpg 77c2d.jpg b1.jpg": "follow no common pattern",
}


@pytest.mark.parametrize(("names", "message"), REFUSED.items())
def test_frames_whose_order_cannot_be_told_are_refused(names: str, message: str) -> None:
    with pytest.raises(ClipReadError) as caught:
        in_order(names.split(), "clips/one")
    assert message in str(caught.value)
    assert str(caught.value).startswith("clips/one")
    assert caught.value.file == "clips/one"


def test_only_images_of_the_folder_are_frames(tmp_path: Path) -> None:
    image = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for name in ("1.jpg", "2.PNG", ".hidden.jpg", "._1.jpg", "Thumbs.db", ".DS_Store", "notes.txt"):
        (tmp_path / name).write_bytes(image)
    (tmp_path / "masks").mkdir()
    (tmp_path / "3.jpg").mkdir()
    (tmp_path / "mask.png").write_bytes(image)
    os.symlink(tmp_path / "gone", tmp_path / "4.jpg")  # a frame that is missing, to be told
    with pytest.raises(ClipReadError, match=r"mask\.png has no number"):
        list_frames(tmp_path, "x")
    (tmp_path / "here").symlink_to(tmp_path)
    mask = tmp_path / "here" / "mask.png"
    assert list_frames(tmp_path, "x", [mask]) == ["1.jpg", "2.PNG", "4.jpg"]
    elsewhere = tmp_path / "masks" / "1.jpg"
    assert list_frames(tmp_path, "x", [mask, elsewhere]) == ["1.jpg", "2.PNG", "4.jpg"]
    with pytest.raises(ClipReadError, match="x holds no images"):
        list_frames(tmp_path / "masks", "x")
    with pytest.raises(ClipReadError, match="x cannot be listed"):
        list_frames(tmp_path / "gone", "x")


def test_long_folders_take_no_time() -> None:
    padded, plain = ([f"clip_{n:{form}}.jpg" for n in range(20_000)] for form in ("06d", "d"))
    begun = time.process_time()
    assert in_order(padded, "x") == padded
    assert time.process_time() - begun < 0.5
    assert in_order(sorted(plain), "x") == plain


def test_every_reader_of_folders_has_this_order(tmp_path: Path) -> None:
    names = ["frame_9", "frame_10", "frame_11"]
    image = cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes()
    for folder in ("JPEGImages/480p/one", "Rename_Images/run/one"):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / f"{name}.png").write_bytes(image)
        (tmp_path / folder / "._frame_9.png").write_bytes(b"")
    (tmp_path / "joint_positions").mkdir()
    davis = DavisFolder(str(tmp_path), split="val", year="2017", resolution="480p").open("one")
    jhmdb = JhmdbFolder(str(tmp_path), split=1).open("run/one")
    stream = open_frames(tmp_path / "JPEGImages/480p/one", None)
    source = FrameFolder(tmp_path, layout="folders")
    prepared = find_input("frames", tmp_path, extensions=(), lists=None, short_side=None, fps=None)
    assert davis.frame_names == jhmdb.frame_names == stream.frame_names == names
    assert [Path(file).stem for file in source.frame_files(0)[1]] == names
    assert prepared.open(0).names == names

"""Files of any name: opened, prepared, and told when they are damaged."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from jobs import prepare
from video_files import frame_numbers, write_video

from selfsup_motion.apps.film import film
from selfsup_motion.data.loading.faults import BadFilesTable, BadVideos
from selfsup_motion.data.loading.reader import Delivery, Fault
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.errors import ClipReadError
from selfsup_motion.terminal.console import logging_to

STEMS = [
    b"2024-01-01T10:20:30",
    b"http:x",
    b"a::b",
    b"caf\xe9",
    "vidéo".encode(),
    "e\u0301".encode(),
    b"~",
    b"-x",
    b"#1",
    b'"quoted" a',
    b" blanks around ",
    b"a=1,b;c",
    b"[bold](1){x}",
    b"100 %03d %s",
    b"two\nlines\t",
    b"back\\slash\\n",
    b"a.mp4 b",
]
FOLDER = b"caf\xe9: 1"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 12 frames by each of these names, in a folder and below it."""
    film = write_video(tmp_path_factory.mktemp("film") / "film.mp4", 12)
    root = tmp_path_factory.mktemp("root") / os.fsdecode(FOLDER)
    (root / "sub:folder").mkdir(parents=True)
    for number, stem in enumerate(STEMS):
        folder = root if number % 2 else root / "sub:folder"
        shutil.copy(film, folder / os.fsdecode(stem + b".mp4"))
    return root


def test_videos_of_any_name_are_read(videos: Path) -> None:
    source = VideoFolder(videos)
    assert len(source) == len(STEMS)
    for index in range(len(source)):
        assert source.info(index).num_frames == 12
        assert frame_numbers(source.read(index, [0, 7]).frames, 12) == [0, 7]


def test_index_and_shards_know_videos_of_any_name(videos: Path, tmp_path: Path) -> None:
    names = [VideoFolder(videos).info(i).key for i in range(len(STEMS))]
    for job in ("index", "shards"):
        outcome = prepare(job, root=videos, output=tmp_path / job)
        assert (outcome.good, outcome.bad.total()) == (len(STEMS), 0)
    indexed = VideoFolder(videos, index=tmp_path / "index")
    shards = ClipShards(str(tmp_path / "shards"), flow=None)
    for source in (indexed, shards):
        assert [source.info(i).key for i in range(len(source))] == names
        assert frame_numbers(source.read(3, [5]).frames, 12) == [5]


def test_lists_that_prepare_writes_name_files_of_any_name(videos: Path, tmp_path: Path) -> None:
    frames, flow = tmp_path / "frames", tmp_path / "flow"
    prepare("frames", root=videos, output=frames)
    (frames / "frames.csv").read_text(encoding="utf-8")
    listed = FrameFolder(frames, layout="folders", lists=["frames.csv"])
    found = FrameFolder(frames, layout="folders")
    keys = [source.info(index).key for source in (listed, found) for index in range(len(source))]
    assert sorted(keys[: len(listed)]) == sorted(keys[len(listed) :])
    assert len(listed) == len(STEMS)
    outcome = prepare("flow", root=frames, output=flow, strides=[11])
    assert (outcome.good, outcome.bad.total()) == (len(STEMS), 0)
    pairs = FrameFolder(tmp_path, layout="pairs", lists=["flow/pairs.txt"], flow="stored")
    assert len(pairs) == len(STEMS)
    for index in range(len(pairs)):
        assert pairs.read(index, [0, 1]).flow is not None


def test_pictures_and_films_are_written_whatever_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(FOLDER)
    folder.mkdir()
    image = np.full((32, 48, 3), (200, 100, 0), np.uint8)
    for stem in map(os.fsdecode, STEMS):
        save_picture(folder / f"{stem}.png", image)
        with film(folder / f"{stem}.mp4", 10) as made:
            made.add(image)
        video = VideoFile(folder / f"{stem}.mp4", stem)
        assert len(video.table.pts) == 1
        video.close()
    source = ImageFolder(folder)
    assert len(source) == len(STEMS)
    for index in range(len(source)):
        assert (source.read(index, [0]).frames[0] == image.transpose(2, 0, 1)).all()


def test_a_damaged_file_is_told_by_its_escaped_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"caf\xe9\n.mp4")
    (tmp_path / name).write_bytes(b"broken")
    source = VideoFolder(tmp_path)
    with pytest.raises(ClipReadError, match=r"^caf\\xe9\\n\.mp4 cannot be opened") as caught:
        source.info(0)
    assert caught.value.file == name
    bad = BadVideos(10, 0.5)
    bad.table = BadFilesTable(tmp_path / "bad_files.csv")
    fault = Fault(caught.value.file, caught.value.reason, str(caught.value))
    with logging_to(tmp_path / "train.log"):
        bad.receive(Delivery({}, [(0, fault)]))
        logging.getLogger("any").warning("raw: %s", name)
    shown = r"caf\xe9\n.mp4"
    told = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert f"Skipped: {shown} cannot be opened" in told
    assert "raw: caf\\xe9\n.mp4" in told
    with (tmp_path / "bad_files.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.DictReader(stream))["file"] == shown
    outcome = prepare("index", root=tmp_path, output=tmp_path / "index")
    assert outcome.bad_files is not None
    assert outcome.bad_files.read_text(encoding="utf-8").splitlines()[1].startswith(f"{shown},")
    assert "Logging error" not in capfd.readouterr().err


def test_an_unreadable_image_is_told_by_its_escaped_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((20, 20, 3), np.uint8))
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / os.fsdecode(b"a\xff\x1b.png")).write_bytes(data[:40])
    source = ImageFolder(tmp_path)
    with pytest.raises(ClipReadError, match=r"^a\\xff\\x1b\.png cannot be decoded"):
        source.read(0, [0])

"""VideoFolder on data sets with classes, splits and lists, as Kinetics has them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from jobs import prepare
from video_files import frame_numbers, write_video

from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.errors import ClipReadError, UserError


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames at 25 per second."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", 30)


def place(film: Path, root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, root / name)


def contents(source: VideoFolder) -> list[tuple[str, str]]:
    """(key, class) of every video."""
    pairs = []
    for index in range(len(source)):
        clip = source.read(index, [0])
        action = int(clip.labels["action"])
        pairs.append((clip.key, source.classes[action] if action >= 0 else "none"))
    return pairs


def test_class_folders_give_labels(film: Path, tmp_path: Path) -> None:
    place(film, tmp_path, "yoga/a.mp4", "archery/b.mp4", "archery/c.mp4", "loose.mp4")
    assert contents(VideoFolder(tmp_path, labels=True)) == [
        ("archery/b.mp4", "archery"),
        ("archery/c.mp4", "archery"),
        ("loose.mp4", "none"),
        ("yoga/a.mp4", "yoga"),
    ]
    assert "action" not in VideoFolder(tmp_path).read(0, [0]).labels


@pytest.mark.parametrize("val", ["val", "validate"])
def test_train_and_val_folders_are_splits_with_the_same_classes(
    film: Path, tmp_path: Path, val: str
) -> None:
    place(film, tmp_path, "train/yoga/a.mp4", "train/archery/b.mp4", f"{val}/yoga/c.mp4")
    train = VideoFolder(tmp_path, labels=True, split="train")
    held_out = VideoFolder(tmp_path, labels=True, split="val")
    assert contents(train) == [("train/archery/b.mp4", "archery"), ("train/yoga/a.mp4", "yoga")]
    assert contents(held_out) == [(f"{val}/yoga/c.mp4", "yoga")]
    assert train.classes == held_out.classes
    assert len(VideoFolder(tmp_path)) == 3


OFFICIAL = """label,youtube_id,time_start,time_end,split,is_cc
yoga,abc_-123456,10,20,train,0
archery,-_fullvideo,0.2,0.6,train,0
archery,missing0000,1,11,train,0
"""


def test_official_csv_finds_cut_and_whole_videos(
    film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place(film, tmp_path, "videos/abc_-123456_000010_000020.mp4", "x/y/-_fullvideo.mp4", "z.mp4")
    (tmp_path / "train.csv").write_text(OFFICIAL)
    with caplog.at_level(logging.WARNING):
        source = VideoFolder(tmp_path, lists=["train.csv"], split="all")
    assert "1 of 3 videos of train.csv" in caplog.text
    assert contents(source) == [
        ("videos/abc_-123456_000010_000020.mp4", "yoga"),
        ("x/y/-_fullvideo.mp4", "archery"),
    ]
    # the cut file counts in full, of the whole one only the span
    assert [source.info(index).num_frames for index in range(2)] == [30, 10]
    assert frame_numbers(source.read(0, [0, 29]).frames) == [0, 29]
    clip = source.read(1, [0, 9])
    assert frame_numbers(clip.frames) == [5, 14]
    assert clip.times is not None
    assert clip.times.tolist() == pytest.approx([0.2, 0.56])
    with pytest.raises(ClipReadError, match="has 10 frames"):
        source.read(1, [10])


def test_classes_are_numbered_over_both_lists(film: Path, tmp_path: Path) -> None:
    place(film, tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "train.csv").write_text("label,youtube_id\nyoga,a\n")
    (tmp_path / "val.csv").write_text("label,youtube_id\narchery,b\n")
    lists = {"lists": ["train.csv"], "val_lists": ["val.csv"]}
    train, val = (VideoFolder(tmp_path, split=split, **lists) for split in ("train", "val"))
    assert train.classes == val.classes == ("archery", "yoga")
    assert contents(train) == [("a.mp4", "yoga")]
    assert contents(val) == [("b.mp4", "archery")]


def test_two_spans_of_one_video_are_two_videos(film: Path, tmp_path: Path) -> None:
    place(film, tmp_path, "a.mp4")
    (tmp_path / "x.csv").write_text("youtube_id,time_start,time_end\na,0,0.4\na,0.4,1.2\n")
    source = VideoFolder(tmp_path, lists=["x.csv"])
    assert frame_numbers(source.read(0, [0]).frames) == [0]
    assert frame_numbers(source.read(1, [0]).frames) == [10]
    assert [source.info(index).num_frames for index in range(2)] == [10, 20]


def test_plain_lists_with_and_without_labels(film: Path, tmp_path: Path) -> None:
    place(film, tmp_path, "with space.mp4", "b.mp4", "c.mp4")
    (tmp_path / "plain.txt").write_text("with space.mp4\n\nb.mp4\n")
    source = VideoFolder(tmp_path, lists=["plain.txt"])
    assert [source.info(index).key for index in range(2)] == ["with space.mp4", "b.mp4"]
    assert "action" not in source.read(0, [0]).labels
    (tmp_path / "labelled.txt").write_text("with space.mp4 jump\nb.mp4 run\n")
    assert contents(VideoFolder(tmp_path, lists=["labelled.txt"])) == [
        ("with space.mp4", "jump"),
        ("b.mp4", "run"),
    ]


def test_a_list_is_divided_if_there_is_none_for_validation(film: Path, tmp_path: Path) -> None:
    names = [f"{number}.mp4" for number in range(12)]
    place(film, tmp_path, *names)
    (tmp_path / "plain.txt").write_text("\n".join(names))
    parts = [
        {s.info(i).key for i in range(len(s))}
        for s in (VideoFolder(tmp_path, lists=["plain.txt"], split=p) for p in ("train", "val"))
    ]
    assert parts[0] | parts[1] == set(names)
    assert not parts[0] & parts[1]
    assert all(parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "label,youtube_id,time_start\nyoga,a,soon\n",
            r"x\.csv:2: expected seconds in the columns time_start and time_end, got 'y",
        ),
        ("label,youtube_id\nyoga,unknown\n", "None of the 1 videos of x.csv"),
        ("", "is empty"),
    ],
)
def test_useless_lists_are_told(film: Path, tmp_path: Path, text: str, message: str) -> None:
    place(film, tmp_path, "a.mp4")
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        VideoFolder(tmp_path, lists=["x.csv"])
    with pytest.raises(UserError, match="cannot be read"):
        VideoFolder(tmp_path, lists=["no.csv"])
    with pytest.raises(UserError, match="set both"):
        VideoFolder(tmp_path, val_lists=["x.csv"])
    (tmp_path / "train").mkdir()
    place(film, tmp_path, "val/b.mp4")
    with pytest.raises(UserError, match="has videos beside the folder val: move those to train"):
        VideoFolder(tmp_path, split="train")
    with pytest.raises(UserError, match="cannot be used together"):
        VideoFolder(tmp_path, lists=["x.csv"], val_root="x")


SPLITS = """label,youtube_id,split
yoga,a,train
archery,b,train
yoga,c,validate
diving,d,test
"""


@pytest.mark.parametrize("validate", ["validate", "val"])
def test_splits_of_an_official_list_are_used(film: Path, tmp_path: Path, validate: str) -> None:
    place(film, tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    (tmp_path / "all.csv").write_text(SPLITS.replace("validate", validate))

    def keys(side: str, **settings: str) -> list[str]:
        source = VideoFolder(tmp_path, lists=["all.csv"], split=side, **settings)  # type: ignore[arg-type]
        assert source.classes == ("archery", "diving", "yoga"), "the same for all splits"
        return [source.info(index).key for index in range(len(source))]

    assert keys("train") == ["a.mp4", "b.mp4"]
    assert keys("val") == ["c.mp4"]
    assert keys("all") == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    assert keys("val", val_list_split="test") == ["d.mp4"]
    assert keys("train", list_split="test", val_list_split="test") == ["d.mp4"]
    # what is trained on is not validated on: nothing is left but to divide it
    assert keys("train", list_split="validate") == ["c.mp4"]
    assert keys("val", list_split="train") == ["c.mp4"]
    with pytest.raises(UserError, match=r"in all\.csv: it has rows of test, train, valid"):
        keys("train", list_split="trial")
    (tmp_path / "all.csv").write_text("label,youtube_id\nyoga,a\n")
    with pytest.raises(UserError, match="it has no column of that name"):
        VideoFolder(tmp_path, lists=["all.csv"], list_split="test")
    with pytest.raises(UserError, match=r"data\.split is set without data\.lists"):
        VideoFolder(tmp_path, list_split="test")


def test_a_list_takes_lengths_from_the_index(
    film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "videos"
    place(film, root, "c.mp4", "a.mp4", "b.mp4")
    (root / "bad.mp4").write_bytes(b"no video")
    prepare("index", root=root, output=tmp_path / "index")
    # the order is the list's, also where it is as long as the index
    (root / "x.txt").write_text("c.mp4\nb.mp4\nbad.mp4\na.mp4\n")
    with caplog.at_level(logging.WARNING):
        source = VideoFolder(root, lists=["x.txt"], index=tmp_path / "index")
    assert "1 of 4 videos of the list are not in the index" in caplog.text
    assert [source.info(index).key for index in range(3)] == ["c.mp4", "b.mp4", "a.mp4"]
    assert source.read(1, [29]).key == "b.mp4"
    (tmp_path / "index" / "moved").mkdir()
    for path in root.glob("*.mp4"):
        path.rename(tmp_path / "index" / "moved" / path.name)
    assert source.info(2).num_frames == 30, "known without opening a file"
    (root / "x.txt").write_text("bad.mp4\n")
    with pytest.raises(UserError, match="None of the 1 videos of the list is in the index"):
        VideoFolder(root, lists=["x.txt"], index=tmp_path / "index")


def test_an_official_list_finds_its_videos_in_the_index(film: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    place(film, root, "yoga/abc_000001_000002.mp4", "whole.mp4")
    prepare("index", root=root, output=tmp_path / "index")
    (root / "x.csv").write_text(
        "label,youtube_id,time_start,time_end\nyoga,abc,1,2\nyoga,whole,0.4,0.8\n"
    )
    source = VideoFolder(root, lists=["x.csv"], index=tmp_path / "index")
    assert [source.info(index).num_frames for index in range(2)] == [30, 10]
    assert frame_numbers(source.read(1, [0]).frames) == [10]

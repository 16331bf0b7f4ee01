"""Lists as people and tools write them, in every reader of lists."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from selfsup_motion.data.reading.label_classes import LabelClasses
from selfsup_motion.data.reading.listed_files import Listing
from selfsup_motion.data.reading.lists import class_names, read_lines
from selfsup_motion.data.sources.frame_lists import FolderList
from selfsup_motion.data.sources.label_folders import LabelFolder
from selfsup_motion.data.sources.pair_lists import PairList
from selfsup_motion.data.sources.video_lists import Videos, from_lists
from selfsup_motion.data.sources.videos import VIDEO_EXTENSIONS
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.actions.lists import hmdb51_lists, ucf101_lists
from selfsup_motion.tasks.propagation.davis_files import DavisFolder
from selfsup_motion.tasks.propagation.jhmdb_files import JhmdbFolder
from selfsup_motion.text.names import shown

VIDEOS = ("train/a.mp4", "train/b c.MP4", "d.avi", "e,f.mp4", "#1.mp4")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    touch(tmp_path, *VIDEOS)
    return tmp_path


def read(root: Path, text: str | bytes, name: str = "list.txt") -> list[tuple[str, str]]:
    """(path, class) of each entry of a list of videos."""
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    refers = Videos(root, VIDEO_EXTENSIONS, lambda: VIDEOS, Listing(root))
    found = from_lists(refers, [name], ())
    actions = [-1] * len(found.paths) if found.actions is None else found.actions.tolist()
    labels = [found.classes[action] if action >= 0 else "" for action in actions]
    return list(zip(found.paths, labels, strict=True))


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", ";", " ; ", "  "])
@pytest.mark.parametrize("label", ["riding a bike", "7", "vidéo", "C#1"])
def test_a_path_ends_behind_its_extension_and_the_rest_is_the_label(
    videos: Path, separator: str, label: str
) -> None:
    lines = [f"{path}{separator}{label}" for path in VIDEOS[:4]]
    assert read(videos, "\n".join(lines)) == [(path, label) for path in VIDEOS[:4]]


WAYS = {
    "a byte-order mark": "\ufefftrain/a.mp4 run\nd.avi sit\n",
    "two lists behind one another, each with a mark": "\ufefftrain/a.mp4 run\n\ufeffd.avi sit",
    "line ends of Windows": "train/a.mp4 run\r\nd.avi sit\r\n",
    "line ends of old": "train/a.mp4 run\rd.avi sit\r",
    "blank lines and blanks": "\n \n  train/a.mp4 run \n\t\nd.avi\tsit\t\n\n",
    "comments": "# by hand\ntrain/a.mp4 run # best\n#train/b.mp4 run\nd.avi sit #\n",
    "a header": "path,label\ntrain/a.mp4,run\nd.avi,sit\n",
    "a header behind a comment": "# by hand\nPath ; Label\ntrain/a.mp4;run\nd.avi;sit\n",
    "a header of blanks": "video label\ntrain/a.mp4 run\nd.avi sit\n",
    "columns in another order": "id,Class,File Name\n1,run,train/a.mp4\n2,sit,d.avi\n",
    "labels first, tabs": "label\tvideo_path\nrun\ttrain/a.mp4\nsit\td.avi\n",
    "quotes": '"train/a.mp4","run"\n"d.avi";sit\n',
    "a separator at the end": "train/a.mp4,run,\nd.avi,sit,\n",
    "paths from here": "./train/a.mp4 run\n.//d.avi sit\n",
    "paths from the root": "/train/a.mp4 run\n/d.avi sit\n",
    "folders as on Windows": "train\\a.mp4 run\nd.avi sit\n",
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_a_list_is_read_however_it_is_written(videos: Path, text: str, name: str) -> None:
    assert read(videos, text, name) == [("train/a.mp4", "run"), ("d.avi", "sit")]


OFFICIAL = {
    "as published": "label,youtube_id,time_start,time_end,split\n{},abc,1,2,train\n",
    "spaces behind commas": "label, youtube_id, time_start, time_end\n{}, abc, 1, 2\n",
    "semicolons": "label;youtube_id;time_start;time_end\n{};abc;1;2\n",
    "tabs": "label\tyoutube_id\ttime_start\ttime_end\n{}\tabc\t1\t2\n",
    "other letters": '\ufeff"Label","YouTube ID","Time_Start","TIME_END"\r\n{},abc,1,2\r\n',
}


@pytest.mark.parametrize("text", OFFICIAL.values(), ids=OFFICIAL)
@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.tsv"])
def test_official_lists_are_read_with_any_separator_and_header(
    tmp_path: Path, text: str, name: str
) -> None:
    (tmp_path / name).write_text(text.format('"riding, a bike"'))
    cut = "x/abc_000001_000002.mp4"
    found = from_lists(
        Videos(tmp_path, VIDEO_EXTENSIONS, lambda: [cut], Listing(tmp_path)), [name], ()
    )
    assert list(found.paths) == [cut]
    assert found.classes == ("riding, a bike",)


def test_a_line_that_begins_with_a_hash_is_read_if_the_file_is_there(videos: Path) -> None:
    assert read(videos, "#1.mp4 run\n#2.mp4 run\nd.avi sit") == [
        ("#1.mp4", "run"),
        ("d.avi", "sit"),
    ]
    assert read(videos, "path,label\n#1.mp4,run\n#2.mp4,run") == [("#1.mp4", "run")]


def test_a_path_with_a_known_extension_in_it_is_the_one_that_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.mp4 copy.mp4")
    text = "a.mp4 copy.mp4 run\na.mp4 like b.mp4\n"
    assert read(tmp_path, text) == [("a.mp4 copy.mp4", "run"), ("a.mp4", "like b.mp4")]


def test_a_file_of_an_unknown_extension_may_be_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp5", "b c")
    assert read(tmp_path, "a.mp5 run\nb c\n") == [("a.mp5", "run"), ("b c", "")]


def test_classes_that_are_numbers_are_in_the_order_of_numbers(videos: Path) -> None:
    assert class_names(["10", "9", "0"])[0] == ("0", "9", "10")
    assert class_names(["10", "b", "9"])[0] == ("10", "9", "b")
    names, number = class_names(["01", "1", "", "2"])
    assert (names, number) == (("1", "2"), {"01": 0, "1": 0, "2": 1})


def test_names_that_are_not_utf8_come_back_from_lists(tmp_path: Path) -> None:
    name, accents = os.fsdecode(b"caf\xe9.mp4"), "cafe\u0301.mp4"
    touch(tmp_path, name, accents, "new\nline \\.mp4")
    expected = [(name, "run"), (accents, "sit"), ("new\nline \\.mp4", "")]
    escaped = f"{shown(name)} run\n{accents} sit\n{shown(expected[2][0])}\n"
    assert read(tmp_path, escaped) == expected
    # as `ls` writes them, in the other Unicode form, and quoted
    raw = b"caf\xe9.mp4 run\n" + "caf\u00e9.mp4 sit\n".encode() + b"new\\nline \\.mp4"
    assert read(tmp_path, raw) == expected
    touch(tmp_path, "été.mp4")
    assert read(tmp_path, "été.mp4 run".encode("cp1252")) == [("été.mp4", "run")]


REFUSED = {
    "train/a.mp4 run\nno video here": r"list\.txt:2: expected a path that ends in .*no video here",
    "train/a.mp4,0,12": r"list\.txt:1: expected a path, or a path and its label in double quotes",
    "train/a.mp4,riding, a bike": r"list\.txt:1: expected a path, or a path and its label",
    "path,label\ntrain/a.mp4,riding, a bike": r"list\.txt:2: expected 2 columns as in the header",
    "path,label\n\nd.avi": r"list\.txt:3: expected 2 columns as in the header, got 'd\.avi'",
    "youtube_id,time_start\nabc,soon": r"list\.txt:2: expected seconds in the columns time_start",
    "path,label\n,run": r"list\.txt:2: expected the name of a video",
    "train/a.mp4 run\n\ntrain/a.mp4 sit": r"list\.txt:3: .* has label sit, and run at .*:1",
    "# nothing\n": r"The list .*list\.txt is empty",
    "train/A.mp4\nd.avi": r"1 of 2 videos .*: train/A\.mp4 \(.*:1; there is train/a\.mp4\)",
    "Train/a.mp4": r"Train/a\.mp4 \(.*; there is train/a\.mp4\)",
    "train/a.mkv\nd.avi": r"train/a\.mkv \(.*; there is train/a\.mp4\)",
    "gone.mp4\nlost.mp4": r"2 of 2 videos of the list are not in .*: gone\.mp4 \(.*:1\), lost\.mp4",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_what_cannot_be_meant_is_refused_with_list_and_line(
    videos: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(videos, text)


def test_an_entry_that_is_listed_twice_is_told_and_counts_once(
    videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "train/a.mp4 run\nd.avi sit\n./train/a.mp4 run\n"
    assert read(videos, text) == [("train/a.mp4", "run"), ("d.avi", "sit")]
    assert "list.txt: 1 of 3 entries repeat others and are counted once: train/a.mp4" in caplog.text
    assert "list.txt:3)" in caplog.text


# the readers, each of a list of the entries "one" and "two"


def entries(data: bytes, form: bytes) -> bytes:
    """A list of names with something before and behind each name."""
    return re.sub(rb"\b(one|two)(?=[\r\n]|$)", form, data)


def folders(root: Path, data: bytes) -> list[str]:
    touch(root, "one/1.jpg", "two/1.jpg")
    (root / "list.csv").write_bytes(entries(data, rb"\1,1"))
    return list(FolderList.from_csv([root / "list.csv"], root).paths)


def pairs(root: Path, data: bytes) -> list[str]:
    (root / "list.txt").write_bytes(entries(data, rb"\1.jpg x.jpg x.flo"))
    found = PairList([root / "list.txt"], root)
    return [found[index][0].removesuffix(".jpg") for index in range(len(found))]


def labels(root: Path, data: bytes) -> list[str]:
    touch(root, "i/one.jpg", "i/two.jpg", "l/one.png", "l/two.png")
    (root / "list.txt").write_bytes(data)
    source = LabelFolder(
        root,
        images="i",
        labels="l",
        listing="list.txt",
        classes=LabelClasses(("a", "b"), ()),
        void=255,
    )
    return [Path(source.name(index)).stem for index in range(len(source))]


def davis(root: Path, data: bytes) -> list[str]:
    touch(root, "JPEGImages/480p/one/0.jpg", "JPEGImages/480p/two/0.jpg")
    touch(root, "ImageSets/2017/val.txt")
    (root / "ImageSets/2017/val.txt").write_bytes(data)
    return list(DavisFolder(str(root), split="val", year="2017", resolution="480p").names)


def jhmdb(root: Path, data: bytes) -> list[str]:
    touch(root, *(f"Rename_Images/run/{name}/1.png" for name in ("one", "three", "two")))
    touch(root, "joint_positions/x", "splits/run_test_split1.txt")
    data = entries(data, rb"\1.avi 2")
    (root / "splits/run_test_split1.txt").write_bytes(data)
    return [Path(name).name for name in JhmdbFolder(str(root), split=1).names]


def ucf(root: Path, data: bytes) -> list[str]:
    touch(root, "A/one.avi", "A/two.avi", "B/three.avi", "classInd.txt", "testlist01.txt")
    (root / "classInd.txt").write_bytes(b"\xef\xbb\xbf# classes\r\n1 A\r\n2 B\r\n")
    (root / "trainlist01.txt").write_text("B/three.avi 2")
    data = entries(data, rb"A/\1.avi 1")
    (root / "testlist01.txt").write_bytes(data)
    return [Path(video.path).stem for video in ucf101_lists(root, root, 1).test]


def hmdb(root: Path, data: bytes) -> list[str]:
    touch(root, "run/one.avi", "run/two.avi")
    data = entries(data, rb"\1.avi 1")
    (root / "run_test_split1.txt").write_bytes(data)
    return [Path(video.path).stem for video in hmdb51_lists(root, root, 1).train]


def kinetics(root: Path, data: bytes) -> list[str]:
    touch(root, "one.mp4", "two.mp4")
    data = entries(data, rb"\1.mp4")
    return [Path(path).stem for path, _ in read(root, data)]


READERS = (folders, pairs, labels, davis, jhmdb, ucf, hmdb, kinetics)
Reader = Callable[[Path, bytes], list[str]]


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_takes_every_way_to_write_text(
    reader: Reader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, data in enumerate(
        (
            b"one\ntwo\n",
            b"\xef\xbb\xbfone\r\ntwo\r\n",
            b"\xef\xbb\xbf# note\n\none\rtwo",
            b"\n# note\none\n\n \ntwo",
        )
    ):
        assert reader(tmp_path / str(number), data) == ["one", "two"]
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        assert reader(tmp_path / "twice", b"one\ntwo\none\n") == ["one", "two"]
    assert "1 of " in caplog.text
    assert "repeat others and are counted once: " in caplog.text
    assert ":3)" in caplog.text
    for encoding, told in (
        ("utf-16", "UTF-16: save it as UTF-8"),
        ("utf-16-le", "not text, or UTF-16: save it as UTF-8"),
        ("utf-32", "UTF-32: save it as UTF-8"),
    ):
        with pytest.raises(UserError, match=told):
            reader(tmp_path / encoding, "one\ntwo\n".encode(encoding))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("0", "1", "2", "3", "twice", "utf-16", "utf-16-le", "utf-32"):
        (tmp_path / name).mkdir()


def test_folders_and_counts_may_be_written_in_many_ways(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a b/1.jpg", "c,d/1.jpg", "e/1.jpg")
    file = tmp_path / "list.csv"
    file.write_text('folder;frames\na b;1\nc,d , 2\n"e"\t3\n', encoding="utf-8")
    found = FolderList.from_csv([file], tmp_path)
    assert [found[index] for index in range(3)] == [("a b", 1), ("c,d", 2), ("e", 3)]
    for text, message in {
        "a b,1\ne,many": r"list\.csv:2: expected a folder and its number of frames",
        "e,1\ne,2": r"list\.csv:2: expected 1 frames of e as at .*list\.csv:1",
        "E,1": r"1 of 1 folder of the list is not in .*: E \(.*; there is e\)",
    }.items():
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            FolderList.from_csv([file], tmp_path)


PAIRS = {
    "commas": "{},{},{}\n",
    "commas and blanks": "{}, {}, {}\n",
    "semicolons": "{};{};{}\n",
    "tabs": "{}\t{}\t{}\n",
    "quotes": '"{}" "{}" "{}"\n',
    "blanks": "{} {} {} # note\n",
}


@pytest.mark.parametrize("form", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize(
    "names",
    [
        ("a.jpg", "b.jpg", "f.flo"),
        ("my a.jpg", "my b.jpg", "f.flo"),
        ("my a.jpg", "b.jpg", "f.flo"),
        ("a,1.jpg", "b.jpg", "f.flo"),
    ],
)
def test_pairs_may_be_separated_by_anything(tmp_path: Path, form: str, names: tuple[str]) -> None:
    file = tmp_path / "list.txt"
    file.write_text("image1,image2,flow\n" + form.format(*names))
    source = PairList([file], tmp_path)
    assert len(source) == 1
    assert source[0] == [*names]


def test_escaped_names_of_pairs_are_found(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9 1.jpg"), "b.jpg", "f.flo"]
    touch(tmp_path, *names)
    file = tmp_path / "list.txt"
    file.write_text(" ".join(shown(name, also=" ") for name in names))
    assert PairList([file], tmp_path)[0] == names
    file.write_text("a.jpg b.jpg\n")
    with pytest.raises(UserError, match=r"list\.txt:1: expected image1 image2 flow, or"):
        PairList([file], tmp_path)


def test_images_and_label_maps_may_have_blanks(tmp_path: Path) -> None:
    touch(tmp_path, "i/a b.jpg", "l/a b.png", "i/c.jpg", "l/c.png")

    def names(text: str) -> list[str]:
        (tmp_path / "list.txt").write_text(text)
        source = LabelFolder(
            tmp_path,
            images="i",
            labels="l",
            listing="list.txt",
            classes=LabelClasses(("a", "b"), ()),
            void=255,
        )
        return [Path(source.name(index)).name for index in range(len(source))]

    assert names("name\na b\nc\n") == ["a b.jpg", "c.jpg"]
    assert names("image,label\n/i/a b.jpg,/l/a b.png\ni/c.jpg;l/c.png") == ["a b.jpg", "c.jpg"]
    assert names("i\\a b.jpg l\\a b.png") == ["a b.jpg"]
    with pytest.raises(UserError, match=r"l has no C \(\.png\), which the list names, but c\.png"):
        names("i/c.jpg l/C.png")
    touch(tmp_path, "i/c.png", "i/._c.jpg", "l/._c.png")
    with pytest.raises(UserError, match=r"i has c\.jpg and c\.png: name the one that is meant"):
        names("c")
    assert names("i/c.jpg l/c.png") == ["c.jpg"]


def test_sequences_that_are_almost_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 2 sequences .*: One \(.*val\.txt:1; there is one\)"):
        davis(tmp_path, b"One\ntwo\n")
    assert davis(tmp_path, b"sequence\none, two\n") == ["one", "two"]
    assert davis(tmp_path, b"one\ngone\n") == ["one"]
    (tmp_path / "ImageSets/2017/val.txt").unlink()
    touch(tmp_path, "JPEGImages/480p/.ipynb_checkpoints/1.jpg")
    every = DavisFolder(str(tmp_path), split="val", year="2017", resolution="480p")
    assert list(every.names) == ["one", "two"]


def test_lists_of_jhmdb_are_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert jhmdb(tmp_path, b"one\nthree.avi 1\ngone.avi 2\n") == ["one"]
    assert "1 of 2 test clips of split 1 are not in" in caplog.text
    with pytest.raises(UserError, match=r"split1\.txt:2: expected a clip and 1 or 2, got 'three'"):
        jhmdb(tmp_path, b"one\nthree\n")
    with pytest.raises(UserError, match=r"split1\.txt:2: expected 2 for one as at .*:1"):
        jhmdb(tmp_path, b"one\none.avi 1\n")


def test_lists_of_ucf101_may_have_labels_and_other_separators(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ucf(tmp_path, b"A\\one.avi\r\nUCF-101/A/two.avi,1\r\n") == ["one", "two"]
    with pytest.raises(UserError, match=r"01\.txt:1: A has label 2, .*classInd\.txt says 1"):
        ucf(tmp_path, b"A/one.avi 2\n")
    with pytest.raises(UserError, match=r"A/one\.mp4 \(.*testlist01\.txt:2; there is A/one\.avi\)"):
        ucf(tmp_path, b"two\nA/one.mp4\n")
    assert ucf(tmp_path, b"one\nB/three.avi\n") == ["one", "three"]
    assert "1 of 2 videos to test on are trained on as well (B/three.avi at" in caplog.text


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The list .*gone\.txt cannot be read: No such file"):
        read_lines(tmp_path / "gone.txt")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        read_lines(tmp_path)


def test_an_index_takes_the_place_of_the_folder(tmp_path: Path) -> None:
    listing = Listing(tmp_path, ["a/b.mp4", "c.mp4"])
    assert [listing.find(name) for name in ("a/b.mp4", "./c.mp4", "d.mp4")] == [
        "a/b.mp4", "c.mp4", None
    ]  # fmt: skip
    assert listing.near("A/B.avi") == "a/b.mp4"

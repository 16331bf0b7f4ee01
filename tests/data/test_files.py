from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsup_motion.data.reading.listing import PathList, find_files, split_by_name
from selfsup_motion.errors import UserError

NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, unique=True)


@given(NAMES)
def test_path_list_is_the_list(names: list[str]) -> None:
    assert list(PathList(names)) == names


@given(NAMES, st.sampled_from([0.01, 0.1, 0.5, 0.99]))
def test_split_is_a_partition_with_both_sides(names: list[str], share: float) -> None:
    train, val = split_by_name(names, share)
    assert sorted(train + val) == sorted(names)
    assert train
    assert val


def test_split_does_not_move_files_when_others_come() -> None:
    names = [f"class{i % 7}/video{i}.mp4" for i in range(400)]
    train, val = split_by_name(names[:300], 0.1)
    more_train, more_val = split_by_name(names, 0.1)
    assert set(train) < set(more_train)
    assert set(val) < set(more_val)
    assert 20 <= len(more_val) <= 60


def test_files_are_found_in_a_stable_order(tmp_path: Path) -> None:
    for name in ["b/x.mp4", "a/deep/y.MKV", "z.avi", "a/notes.txt", ".hidden/h.mp4", "a/._x.mp4"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for ever
    found = find_files(tmp_path, (".mp4", ".mkv", ".avi"), "videos")
    assert found == ["a/deep/y.MKV", "b/x.mp4", "z.avi"]


def test_each_useless_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file.mp4").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    for folder, message in [
        ("missing", "does not exist"),
        ("file.mp4", "is a file"),
        ("empty", "is empty"),
        ("texts", r"holds no videos \(.mp4\), only 1 × .txt"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            find_files(tmp_path / folder, (".mp4",), "videos")
        assert str(tmp_path / folder) in str(caught.value)
        assert "data.root" in str(caught.value)

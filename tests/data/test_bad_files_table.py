"""`bad_files.csv`: each bad file once, however many processes write and whatever cuts them off."""

from __future__ import annotations

import csv
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from patience import PATIENCE

from selfsup_motion.data.loading.faults import BadFilesTable
from selfsup_motion.data.loading.reader import Fault


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def fault(number: int, reason: str = "damaged") -> Fault:
    return Fault(f"v{number}.mp4", reason, f"v{number}.mp4 is {reason}, so to speak.")


def list_all(path: Path, barrier: Barrier, rank: int) -> None:
    table = BadFilesTable(path)
    barrier.wait()
    for number in range(150):
        # each process may see something else wrong with a file
        table.add("train", fault(number, f"damaged ({rank})"))


def test_processes_list_each_file_once_under_one_header(tmp_path: Path) -> None:
    context = get_context("fork")
    for attempt in range(3):
        path, barrier = tmp_path / f"{attempt}.csv", context.Barrier(4)
        processes = [
            context.Process(target=list_all, args=(path, barrier, rank)) for rank in range(4)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in processes] == [0] * 4
        header, *listed = rows(path)
        assert header == ["set", "file", "reason", "message"]
        assert sorted(row[1] for row in listed) == sorted(f"v{n}.mp4" for n in range(150))
        assert all(len(row) == 4 for row in listed)


def test_a_later_session_goes_on_with_the_list(tmp_path: Path) -> None:
    path = tmp_path / "bad_files.csv"
    for session in range(2):
        table = BadFilesTable(path)
        for number in range(3 + session):
            table.add("train", fault(number))
        table.add("val", fault(0))
    assert [row[:2] for row in rows(path)[1:]] == [
        ["train", "v0.mp4"], ["train", "v1.mp4"], ["train", "v2.mp4"], ["val", "v0.mp4"],
        ["train", "v3.mp4"],
    ]  # fmt: skip


def test_a_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "bad_files.csv"
    table = BadFilesTable(path)
    table.add("train", fault(0))
    table.add("train", fault(1))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        for writer in (BadFilesTable(path), table):
            writer.add("train", fault(0))
            writer.add("train", fault(1))
            assert path.read_bytes() == whole


def test_faults_without_a_file_are_told_apart_by_what_they_say(tmp_path: Path) -> None:
    table = BadFilesTable(tmp_path / "bad_files.csv")
    for message in ("one", "two", "one"):
        table.add("val", Fault("", "damaged", message))
    assert [row[3] for row in rows(table.path)[1:]] == ["one", "two"]

"""Two trainings never write into one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfsup_motion.errors import UserError
from selfsup_motion.terminal.lock import FolderLock

pytest.importorskip("fcntl", reason="this system has no record locks")

HOLDER = """
import os, sys, time
from pathlib import Path
from selfsup_motion.terminal.lock import FolderLock
lock = FolderLock()
lock.claim(Path(sys.argv[1]))
if os.fork() == 0:  # as a loader worker, which outlives its killed parent for a while
    time.sleep(3600)
print("held", flush=True)
time.sleep(3600)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in the folder, and its worker."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_folder_in_use_is_refused_by_name_and_free_once_its_process_is_killed(tmp_path):
    with holder(tmp_path) as other:
        with pytest.raises(UserError, match=rf": process {other.pid} on \S+ is training there"):
            FolderLock().claim(tmp_path)
        other.kill()  # not its worker
        other.wait()
        FolderLock().claim(tmp_path)


def test_a_released_folder_is_free(tmp_path):
    lock = FolderLock()
    lock.claim(tmp_path)
    lock.release()
    with holder(tmp_path):
        pass


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    FolderLock().claim(tmp_path)


@pytest.mark.parametrize("resume", ["auto", "busy"])
def test_a_run_that_is_under_way_is_neither_joined_nor_touched(tiny, folder, resume):
    tiny("trainer.max_steps=2", "paths.output_dir=busy")
    before = {file: file.read_bytes() for file in Path("busy").rglob("*") if file.is_file()}
    with holder(Path("busy")):
        with pytest.raises(UserError, match=r"busy: process .* is training there"):
            tiny("trainer.max_steps=4", "paths.output_dir=busy", f"resume={resume}")
        del before[Path("busy/.lock")]
        assert all(file.read_bytes() == content for file, content in before.items())
    tiny("trainer.max_steps=4", "paths.output_dir=busy", f"resume={resume}")

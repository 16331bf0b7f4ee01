import errno
from pathlib import Path

import pytest

from selfsup_motion.callbacks.checkpointing import replace


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path):
    file = tmp_path / "last.ckpt"
    file.write_text("whole")

    def write(path: Path) -> None:
        path.write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left"):
        replace(file, write)
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file], "and no draft takes up the space"


def test_a_write_that_succeeds_takes_its_place(tmp_path):
    file = tmp_path / "last.ckpt"
    file.write_text("old")
    replace(file, lambda path: path.write_text("new"))
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]

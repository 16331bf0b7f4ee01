"""What is said before the log file is known."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from selfsup_motion.terminal.console import logging_to, quieten


def test_messages_before_the_log_file_appear_once_and_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(None):  # what an earlier test's command may have left to be told
        pass
    root, log = logging.getLogger(), logging.getLogger("selfsup_motion.early")
    before = root.level, list(root.handlers)
    quieten()
    for _ in range(2):
        log.info("training on train")
        log.warning("nothing to test on")
    assert capsys.readouterr().out == "Warning: nothing to test on\n"
    with logging_to(tmp_path / "x.log"):
        log.info("later")
    assert capsys.readouterr().out == "training on train\nlater\n"
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "training on train", "nothing to test on", "later"
    ]  # fmt: skip
    assert (root.level, list(root.handlers)) == before
    # the other ranks
    quieten()
    log.info("training on train")
    with logging_to(None):
        pass
    assert capsys.readouterr().out == ""

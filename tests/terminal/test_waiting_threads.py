"""Threads of commands that run beside a person's other programs."""

import os
import sys

import pytest

from selfsup_motion.terminal import command_line


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("animate", None, "PASSIVE"), ("animate", "ACTIVE", "ACTIVE"), ("train", None, None)],
)
def test_threads_sleep_while_they_wait_in_commands_that_people_wait_for(
    monkeypatch, name, before, after
):
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(sys, "argv", [name])
    seen = []
    command_line.run(lambda: seen.append(os.environ.get("OMP_WAIT_POLICY")), name)
    assert seen == [after]

"""How long tests wait for other processes: a guard against hanging, not a measure of speed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 900.0
"""Seconds: many times what anything takes on a machine that is busy with something else."""


def wait_until(
    happened: Callable[[], object], alive: Callable[[], bool], pause: float = 0.01
) -> None:
    """Wait for what another process does; the test fails if that process ends without doing it."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert alive() or happened(), "the process has ended"
        assert time.monotonic() < deadline, "the process hangs"
        time.sleep(pause)

"""Runs of a tiny method: in this process where possible, since importing torch costs seconds."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from patience import PATIENCE

HERE = Path(__file__).parent
CONF = HERE / "conf"

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB__SERVICE_WAIT", "WANDB_INIT_TIMEOUT"):
        monkeypatch.setenv(name, str(PATIENCE))
    return tmp_path


@pytest.fixture
def tiny(folder: Path) -> Callable[..., float | None]:
    """Train the tiny experiment in this process, with overrides."""
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.train import train

    def run(*overrides: str) -> float | None:
        return train(
            compose([f"hydra.searchpath=[{CONF}]", "experiment=tiny", "data=tiny", *overrides])
        )

    return run


@pytest.fixture
def cli(folder: Path) -> Cli:
    """The command line in a process of its own, with the tiny experiment within reach."""

    pythonpath = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))

    def run(*arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "selfsup_motion.train", f"--config-dir={CONF}", *arguments],
            env={**os.environ, "PYTHONPATH": pythonpath, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def main(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "train", f"--config-dir={CONF}")

"""A folder in which the commands and code of README and docs find what they speak of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from world import make_world, save_authors_weights


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    return root


@pytest.fixture(scope="session")
def authors_weights(world: Path) -> None:
    """Files there as the papers' authors and torchvision publish them."""
    save_authors_weights(world)


@pytest.fixture
def run(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command of the package there, in this process; gives its exit status."""
    monkeypatch.chdir(world)

    def run(verb: str, *words: str) -> int:
        monkeypatch.setattr(sys, "argv", [verb, *(local(word, world) for word in words)])
        try:
            import_module(f"selfsup_motion.{verb}").main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


def local(word: str, world: Path) -> str:
    """An argument whose absolute paths are moved into the folder."""
    for root in ("/data", "/path/to"):
        word = word.replace(f"={root}", f"={world}{root}")
    return word

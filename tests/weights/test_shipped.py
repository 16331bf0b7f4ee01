"""Models that come with the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfsup_motion import load_encoder, load_method
from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.run_folders import checkpoint_file
from selfsup_motion.weights.shipped import shipped


@pytest.mark.parametrize("name", list(shipped()))
def test_each_is_small_and_says_where_it_comes_from(name: str) -> None:
    model = shipped()[name]
    assert model.file.stat().st_size < 8_000_000
    card = model.card.read_text(encoding="utf-8")
    for part in ("## Data", "## Training", "## Measured", "## Not good for", "licence"):
        assert part.lower() in card.lower(), f"{name}: its card says nothing about {part}"
    assert model.about


def test_names_are_checkpoints() -> None:
    method = load_method("cmp")
    assert type(method).__name__ == "CMP"
    assert method.training is False
    encoder = load_encoder("cmp")
    assert encoder(torch.zeros(1, 3, 64, 64)).shape[0] == 1


def test_a_path_is_never_taken_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cmp").mkdir()
    assert checkpoint_file("cmp") == shipped()["cmp"].file
    with pytest.raises(CheckpointError, match="cmp: not a run folder"):
        checkpoint_file("./cmp")
    with pytest.raises(CheckpointError, match=r"cnp: there is no .*; the package has .*cmp"):
        checkpoint_file("cnp")


def test_they_are_listed_without_pytorch() -> None:
    code = (
        "import sys, selfsup_motion.weights.__main__ as m; status = m.main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )

    def listed(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    told = listed()
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("cmp")
    assert " MB " in told.stdout
    assert "# cmp" in listed("cmp").stdout
    wrong = listed("cnp")
    assert wrong.returncode == 2
    assert "choose one of cmp" in wrong.stderr

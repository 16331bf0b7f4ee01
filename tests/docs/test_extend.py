"""docs/extend.md: the files on the page, put into an empty folder, do what the page says."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks
from patience import PATIENCE

PAGE = blocks(ROOT / "docs" / "extend.md")
STEPS = [block for block in PAGE if block.title is None and block.language in ("python", "sh")]

TINY = {
    "train": "trainer=cpu data.num_workers=0 data.batch_size=2 data.val_videos=2 "
    "trainer.val_check_interval=1",
    "evaluate": "device=cpu",
    "propagate": "device=cpu overlay=false",
}
TRUST = "trust=my_lab"
SMALL_TASK = ("task.train.num_videos=8", "task.test.num_videos=8")


def write_files(folder: Path) -> None:
    for block in PAGE:
        if block.title is not None:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")


def commands(block: Block) -> list[list[str]]:
    return [shlex.split(line) for line in block.code.splitlines()]


def shortened(words: list[str]) -> tuple[str, list[str]]:
    """A command on the page, as verb and arguments that take seconds."""
    assert words[:2] == ["python", "-m"]
    verb, arguments = words[2].removeprefix("selfsup_motion."), words[3:]
    if "task=arrow_tuning" in arguments:  # trains
        arguments += [*TINY["train"].split(), "trainer.max_steps=1"]
    else:
        arguments += TINY[verb].split()
    if verb == "train":
        arguments += [f"trainer.max_steps={3 if 'resume=run' in arguments else 2}"]
    if "task=find_ball" in arguments:
        arguments += SMALL_TASK
    return verb, arguments


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder with the files of the page, that is the current one."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_the_listing_names_the_files_that_the_page_has():
    (listing,) = [block.code for block in PAGE if block.language == "text"]
    named = {word for word in listing.split() if "/" in word}
    assert named == {block.title for block in PAGE if block.title is not None}


@pytest.mark.slow
def test_everything_on_the_page_works(workplace, command, capsys):
    for block in STEPS:
        if block.language == "python":
            exec(compile(block.code.replace("max_steps=20", "max_steps=1"), str(block), "exec"), {})
            continue
        for words in commands(block):
            verb, arguments = shortened(words)
            assert command(verb, *arguments) == 0, (str(block), capsys.readouterr().err)
    summary = json.loads((workplace / "run" / "summary.json").read_text())
    assert summary["finished"]
    assert "r2" in json.loads((workplace / "found" / "summary.json").read_text())["metrics"]
    assert (workplace / "run" / "figures" / "step_000003_clip.png").is_file()

    # an own class in a checkpoint is refused, whatever asks for it, until it is named
    capsys.readouterr()
    for words in (w for b in STEPS if b.language == "sh" for w in commands(b) if TRUST in w):
        verb, arguments = shortened([word for word in words if word != TRUST])
        assert command(verb, *arguments, "paths.output_dir=refused") == 2
        told = capsys.readouterr().err
        assert "wants to call my_lab.encoder.SmallEncoder, which is refused" in told
        assert f"add {TRUST} " in told


@pytest.mark.slow
def test_the_page_runs_as_it_stands_with_an_installed_package(installed, tmp_path):
    write_files(tmp_path)
    for block in STEPS:
        code = [["python", "-c", block.code]]
        lines = code if block.language == "python" else commands(block)
        for words in lines:
            done = subprocess.run(
                [installed.python, *words[1:]],
                cwd=tmp_path,
                env=installed.environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, (words, done.stderr)
    run = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert run["metrics"]["val/accuracy"] > 0.9
    found = json.loads((tmp_path / "found" / "summary.json").read_text())
    assert found["metrics"]["r2"] > 0.55 > 0.45 > found["baselines"]["untrained"]["r2"]

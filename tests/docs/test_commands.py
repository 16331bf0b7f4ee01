"""Every command in README and docs is understood, and those that can run here run."""

import re
import subprocess

import pytest
from command_lines import in_blocks, in_prose, is_script
from documents import PAGES, ROOT, blocks

WRITTEN = list({str(c).partition(" ")[2]: c for c in [*in_blocks(), *in_prose()]}.values())
OURS = [command for command in WRITTEN if command.verb]
MISSING = re.compile(
    r"(?P<key>[\w.]+)=.*?(: there is no such (folder|checkpoint|file)|"
    r" holds no finished (flow|motion vectors))"
)
LANGUAGES = {"sh", "python", "yaml", "json", "text"}


class Reached(BaseException):
    """The command has been understood and has found its data: it would begin now."""


def reach(*_: object, **__: object) -> None:
    raise Reached


@pytest.fixture
def stopped(monkeypatch):
    """Commands stop where everything is checked and the first network would be built."""
    for name in (
        "training.session.session",
        "tasks.features.choice.choose_device",
        "tasks.features.choice.choose_encoder",
        "apps.animate.Animation.run",
        "apps.annotate.Annotation.run",
        "apps.activation.Activation.run",
        "web.server.Server.run",
        "data.preparation.work.Work.run",
        "data.preparation.color_clusters.fit_colors",
        "apps.run_removal.remove_run",
        "runs.os.execv",
        "apps.comparing.plan.plan",
        "apps.comparing.running.Runner.run",
        "apps.exporting.export.Export.run",
    ):
        monkeypatch.setattr(f"selfsup_motion.{name}", reach)


def marked(command):
    """A whole study composes some hundred configs."""
    whole = not any(word.startswith("rows=") for word in command.words)
    long = command.verb == "compare" and "study=toy" in command.words and whole
    return pytest.param(command, id=str(command), marks=[pytest.mark.slow] if long else [])


@pytest.mark.parametrize("command", [marked(command) for command in OURS])
def test_command_is_understood(run, stopped, capsys, command):
    try:
        status = run(command.verb, *command.words)
    except Reached:
        return
    told = capsys.readouterr().err
    if command.verb == "runs":  # which has answered already
        assert status == 0, told
        return
    found = MISSING.match(told)
    # the settings are checked before the data; a data set that is not here is all that may be wrong
    assert status == 2, told
    assert found, told
    assert any(word.startswith(f"{found['key']}=") for word in command.words), told


def test_other_commands_are_targets_of_make():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for command in WRITTEN:
        if not command.verb:
            assert command.words[0] == "make", f"{command}: mark its block as not run, and say why"
            assert command.words[1] in targets, command


def test_scripts_that_are_named_exist():
    for page in PAGES:
        for name in re.findall(r"scripts/[\w/]+\.(?:sh|py)", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file(), f"{page.name}: {name}"


def test_targets_of_make_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        named = re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8"))
        assert set(named) <= targets, page.name


def test_every_block_has_a_language_and_few_are_not_run():
    all_blocks = [block for page in PAGES for block in blocks(page)]
    assert {block.language for block in all_blocks} <= LANGUAGES
    marked = [block for block in all_blocks if block.reason is not None]
    assert all(len(block.reason) > 10 for block in marked)
    assert len(marked) <= 9, [str(block) for block in marked]
    assert sum(page.read_text(encoding="utf-8").count("<!-- not run") for page in PAGES) == len(
        marked
    ), "a mark stands before the block that it is about"


def test_the_list_of_hmdb51_is_made(tmp_path):
    (block,) = [b for page in PAGES for b in blocks(page) if b.language == "sh" and is_script(b)]
    splits = tmp_path / "testTrainMulti_7030_splits"
    splits.mkdir()
    (tmp_path / "hmdb51").mkdir()
    (splits / "wave_test_split1.txt").write_text("a.avi 1\nb.avi 2\nc.avi 0\n")
    (splits / "run_test_split1.txt").write_text("d.avi 1\n")
    (splits / "run_test_split2.txt").write_text("e.avi 1\n")
    subprocess.run(["bash", "-euc", block.code], cwd=tmp_path, check=True)
    listed = (tmp_path / "hmdb51" / "train01.txt").read_text()
    assert sorted(listed.split()) == ["run/d.avi", "wave/a.avi"]

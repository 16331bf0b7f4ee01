"""Output folders: who may write there, and what is removed when nothing came of a run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.files.folders import make_folders
from selfsup_motion.settings.compose import compose
from selfsup_motion.terminal import command_line
from selfsup_motion.terminal import output_folder as module
from selfsup_motion.terminal.command_line import Interrupted
from selfsup_motion.terminal.output_folder import OutputFolder, claimed, output_folder

OTHER = "outputs/train/cmp/B/checkpoints/last.ckpt"


@pytest.fixture(autouse=True)
def hear_ctrl_c() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C, tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("hours")


def left() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def nothing_useful(folder: Path) -> bool:
    return False


def test_discard_removes_the_folder_with_its_content_and_empty_ones_above():
    folder = OutputFolder(Path("outputs/train/cmp/A"))
    folder.claim()
    assert folder.made == [Path(p) for p in ("outputs", "outputs/train", "outputs/train/cmp",
                                             "outputs/train/cmp/A")]  # fmt: skip
    write("outputs/train/cmp/A/checkpoints/last.ckpt")
    folder.discard()
    assert left() == []


def test_discard_leaves_the_runs_that_began_beside_it():
    folder = OutputFolder(Path("outputs/train/cmp/A"))
    folder.claim()
    write(OTHER)
    write("outputs/notes.txt")
    folder.discard()
    assert [path for path in left() if Path(path).is_file()] == ["outputs/notes.txt", OTHER]
    assert not Path("outputs/train/cmp/A").exists()


def test_discard_leaves_the_runs_that_began_inside():
    folder = OutputFolder(Path("outputs"))
    folder.claim()
    inner = OutputFolder(Path("outputs/more/B"))
    inner.claim()
    write("outputs/config.yaml")
    write("outputs/more/B/config.yaml")
    write(OTHER)
    folder.discard()
    inner.release()
    assert [path for path in left() if Path(path).is_file()] == [
        "outputs/more/B/config.yaml",
        OTHER,
    ]


@pytest.mark.parametrize("outer", ["mine", "mine/run"])
def test_folders_that_were_there_before_stay(outer):
    Path(outer).mkdir(parents=True)
    folder = OutputFolder(Path("mine/run"))
    folder.claim()
    write("mine/run/config.yaml")
    folder.discard()
    assert left() == sorted({"mine", outer})
    OutputFolder(Path("mine/run")).claim()  # the same command again


def test_released_folder_keeps_what_was_written_and_no_lock():
    folder = OutputFolder(Path("run"))
    folder.claim()
    write("run/film.mp4")
    folder.release()
    folder.discard()  # too late
    assert left() == ["run", "run/film.mp4"]


@pytest.mark.parametrize("kind", ["file", "full"])
def test_used_folder_is_refused_in_a_sentence_and_left_as_it_is(kind):
    write("run" if kind == "file" else "run/thesis.txt")
    before = left()
    with pytest.raises(UserError, match=r"^paths\.output_dir=run already has files") as told:
        OutputFolder(Path("run")).claim(advice=lambda folder: f"go on with resume={folder},")
    assert str(told.value).endswith(
        "left unchanged: go on with resume=run, or choose another folder."
    )
    assert left() == before


def test_folder_that_cannot_be_made_is_a_sentence_and_leaves_nothing():
    write("file")
    with pytest.raises(
        UserError, match=r"^paths\.output_dir=new/\.\./file/a: cannot be written \("
    ):
        OutputFolder(Path("new/../file/a")).claim()
    assert left() == ["file"]


def test_folder_is_kept_from_a_second_process_from_its_first_moment():
    folder = OutputFolder(Path("run"))
    folder.claim("animating")
    code = (
        "from pathlib import Path\n"
        "from selfsup_motion.terminal.output_folder import OutputFolder\n"
        "try: OutputFolder(Path('run')).claim()\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = f"paths.output_dir=run: process {os.getpid()} on "
    assert done.stdout.startswith(expected), done.stderr
    assert " is animating there; wait until it has ended" in done.stdout
    assert Path("run").is_dir()


def test_folder_that_another_run_has_filled_meanwhile_is_refused(monkeypatch):
    """Between the first look and the claim, another run came, wrote and went."""
    claim = module.FolderLock.claim

    def late(self, folder: Path, doing: str) -> None:
        write("outputs/a/run/film.mp4")
        claim(self, folder, doing)

    monkeypatch.setattr(module.FolderLock, "claim", late)
    with pytest.raises(UserError, match="already has files"):
        OutputFolder(Path("outputs/a/run")).claim()
    assert "outputs/a/run/film.mp4" in left()


def test_parent_that_another_run_removes_meanwhile_is_made_again(monkeypatch):
    """Another run has made `outputs`, and discards it just when this one looks for it."""
    Path("outputs").mkdir()
    mkdir, gone = Path.mkdir, []

    def late(self: Path, *args: object, **options: object) -> None:
        if not gone:
            gone.append(Path("outputs").rmdir())
        mkdir(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", late)
    folder = OutputFolder(Path("outputs/train/A"))
    folder.claim()
    assert Path("outputs/train/A").is_dir()
    assert folder.made[0] == Path("outputs")


def test_a_lock_that_is_removed_while_it_is_waited_for_is_none(monkeypatch):
    folder = OutputFolder(Path("run"))
    folder.claim()
    write("run/film.mp4")
    lockf, calls = module.FolderLock.claim.__globals__["fcntl"].lockf, []

    def late(file: int, flags: int) -> None:
        if not calls:
            Path("run/.lock").unlink()
        calls.append(lockf(file, flags))

    monkeypatch.setattr("fcntl.lockf", late)
    lock = module.FolderLock()
    lock.claim(Path("run"))
    assert len(calls) == 2, "once on the removed file, once on the new one"
    lock.release()


def ending(end: Callable[[], object], useful: Callable[[Path], bool] = nothing_useful) -> None:
    """A run in `outputs/A` that writes something and ends like this, beside another one."""
    with claimed(OutputFolder(Path("outputs/A")), useful=useful):
        write("outputs/A/a.png")
        write(OTHER)
        end()


def fail() -> None:
    raise UserError("broken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_block_and_leave_nothing(number):
    before = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        ending(lambda: signal.raise_signal(number))
    assert [path for path in left() if Path(path).is_file()] == [OTHER]
    assert signal.getsignal(number) is before


def test_second_signal_waits_until_everything_is_removed(monkeypatch):
    empty = module._empty

    def impatient(folder: Path) -> bool:
        signal.raise_signal(signal.SIGINT)
        return empty(folder)

    monkeypatch.setattr(module, "_empty", impatient)
    with pytest.raises(KeyboardInterrupt):
        ending(fail)
    assert [path for path in left() if Path(path).is_file()] == [OTHER]


def test_useful_results_stay_after_an_error():
    with pytest.raises(UserError, match="broken"):
        ending(fail, useful=lambda folder: (folder / "a.png").exists())
    assert [path for path in left() if Path(path).is_file()] == ["outputs/A/a.png", OTHER]


def test_works_outside_of_the_main_thread():
    def work() -> None:
        with claimed(OutputFolder(Path("run")), useful=nothing_useful):
            write("run/a.png")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert left() == ["run", "run/a.png"]


def test_runs_that_start_within_one_second_get_folders_of_their_own():
    cfg = compose(
        ["image=p.png", "arrows=[]", "name=p"], config_name="animate"
    )  # its folder has the time in its name
    with output_folder(cfg) as first, output_folder(cfg) as second:
        assert second.name == f"{first.name}_1"
        assert first.parent == second.parent == Path("outputs/animate/p")


def test_only_the_folders_that_were_missing_count_as_made():
    Path("a").mkdir()
    assert make_folders(Path("a/b/c")) == [Path("a/b"), Path("a/b/c")]
    assert make_folders(Path("a/b/c")) == []


def test_full_disk_is_told_with_the_name_of_the_file(capsys):
    def job(cfg):
        raise OSError(errno.ENOSPC, "No space left on device", "file:out/film.mp4")

    with pytest.raises(SystemExit) as left:
        command_line.job(job, OmegaConf.create())
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("out/film.mp4: no space is left on the disk")

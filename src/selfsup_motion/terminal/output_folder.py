"""The folder that a run writes to: opened by all commands here, and removed if nothing came of it.

Imports nothing slow: a folder that cannot be used is told at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.files.folders import make_folders, remove_empty
from selfsup_motion.terminal.command_line import Interrupted
from selfsup_motion.terminal.lock import LOCK, FolderLock

Advice = Callable[[Path], str]

_TRIES = 10
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class OutputFolder:
    """A folder that one process writes to.

    Attributes:
        path: of the folder.
        made: the folders that `claim` has made, this one and those above it, the deepest last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: list[Path] = []
        self._lock = FolderLock()
        self._claimed = False

    def claim(
        self, doing: str = "writing", *, used: bool = False, advice: Advice | None = None
    ) -> None:
        """Make the folder and keep other processes out of it, until `release` or the end.

        Args:
            doing: what this process does there, for the others.
            used: whether the folder may hold something already.
            advice: see `check_unused`.

        Raises:
            UserError: another process has the folder, it holds something, or cannot be written.
        """
        if not used:
            check_unused(self.path, advice)
        try:
            with _held_signals():
                self._open(doing)
            if not used:  # again: another may have come, written and gone since the first look
                check_unused(self.path, advice)
        except OSError as error:
            self._give_back()
            raise UserError(
                f"paths.output_dir={self.path}: cannot be written ({error.strerror}); choose "
                "another folder."
            ) from error
        except BaseException:
            self._give_back()
            raise

    def discard(self) -> None:
        """Remove what this process has written: the folder if `claim` made it, else what is in it.

        Also the folders above that `claim` made, if they are empty. Other runs that began in any
        of them, or in this one, stay. To be called instead of `release`.
        """
        if not self._claimed:
            return
        with _held_signals():
            _empty(self.path)
            self._give_back()

    def release(self, *, keep_lock: bool = False) -> None:
        """Let others go on in the folder.

        Args:
            keep_lock: leave the file that the lock is on.
        """
        if self._claimed and not keep_lock:
            with contextlib.suppress(OSError):
                (self.path / LOCK).unlink()
        self._lock.release()
        self._claimed = False

    def _open(self, doing: str) -> None:
        for last in (*[False] * _TRIES, True):
            try:
                self.made += make_folders(self.path)
                self._lock.claim(self.path, doing)
                break
            except FileNotFoundError:  # who made it, or one above it, has just removed it
                if last:
                    raise
        self._claimed = True

    def _give_back(self) -> None:
        if self._claimed:  # the lock goes last: until here nobody else can claim the folder
            with contextlib.suppress(OSError):
                (self.path / LOCK).unlink()
        remove_empty(self.made)
        self.made = []
        self._lock.release()
        self._claimed = False


@contextlib.contextmanager
def output_folder(
    cfg: DictConfig, *, useful: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """A new folder for what a command writes: `paths.output_dir`, in a multirun a part of it.

    If the block ends with an exception, Ctrl-C or SIGTERM, what was written is removed, unless
    there is something useful among it.

    Args:
        cfg: not resolved.
        useful: whether what the folder holds is to stay in that case.

    Raises:
        UserError: the folder holds something, is another process's, or cannot be written.
        Interrupted: SIGTERM.
    """
    path, timestamped = configured_path(cfg)
    folder = OutputFolder(unused(path, timestamped))
    with claimed(folder, useful=useful):
        yield folder.path


@contextlib.contextmanager
def claimed(
    folder: OutputFolder,
    *,
    used: bool = False,
    advice: Advice | None = None,
    useful: Callable[[Path], bool],
) -> Iterator[None]:
    """What `output_folder` does, with a folder that is chosen already.

    Args:
        folder: not claimed yet.
        used: see `OutputFolder.claim`; such a folder is never emptied.
        advice: likewise.
        useful: see `output_folder`.
    """
    with ending_on_sigterm():
        try:
            folder.claim(used=used, advice=advice)
            yield
        except BaseException:
            if used or useful(folder.path):
                folder.release()
            else:
                folder.discard()
            raise
        folder.release()


def configured_path(cfg: DictConfig) -> tuple[Path, bool]:
    """`paths.output_dir`, in a multirun with the number of the job, and whether a time in it makes
    it a new one for each run.

    Args:
        cfg: not resolved.
    """
    path = Path(cfg.paths.output_dir)
    paths = OmegaConf.to_container(cfg.paths)
    assert isinstance(paths, dict)
    return path / job_number(), "${now:" in str(paths["output_dir"])


def job_number() -> str:
    """Of this job in a multirun; empty if it is alone."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return ""
    return str(HydraConfig.get().job.num)


def unused(path: Path, timestamped: bool, advice: Advice | None = None) -> Path:
    """The folder, or if it is one of those with a time, the next name that is free.

    Raises:
        UserError: it is used.
    """
    folder, number = path, 1
    while timestamped and folder.exists():  # started within the same second as another
        folder = path.with_name(f"{path.name}_{number}")
        number += 1
    check_unused(folder, advice)
    return folder


def check_unused(folder: Path, advice: Advice | None = None) -> None:
    """Make sure that a folder does not exist, or is empty.

    Args:
        folder: to look at.
        advice: tells how to go on in such a folder, with a comma behind it; None: it cannot be.

    Raises:
        UserError: it holds something, or is a file.
    """
    try:
        used = folder.exists() and (
            not folder.is_dir() or any(entry.name != LOCK for entry in folder.iterdir())
        )
    except OSError as error:
        raise UserError(f"paths.output_dir={folder}: {error.strerror}.") from error
    if used:
        raise UserError(
            f"paths.output_dir={folder} already has files and is left unchanged: "
            f"{f'{advice(folder)} or ' if advice else ''}choose another folder."
        )


@contextlib.contextmanager
def folder_of(file: Path, key: str) -> Iterator[None]:
    """The folder of a file that the block writes in the end; removed again if it does not, and the
    folder was made for it and is empty.

    Args:
        file: which does not exist yet.
        key: of the config that names it.

    Raises:
        UserError: the folder cannot be made.
        Interrupted: SIGTERM.
    """
    try:
        made = make_folders(file.parent)
    except OSError as error:
        raise UserError(
            f"{key}={file}: cannot be written ({error.strerror}), choose another place."
        ) from error
    with ending_on_sigterm():
        try:
            yield
        except BaseException:
            remove_empty(made)
            raise


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """In the block, SIGTERM raises `Interrupted`, as Ctrl-C raises `KeyboardInterrupt`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, message="Stopped.")

    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end of the block.

    Blocking them for this thread would not do: Python hears of them through any other one.
    """
    heard: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            before[number] = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


def _empty(folder: Path) -> bool:
    """Remove what is in a folder, but other runs' folders and the lock; whether it is empty."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return False
    empty = True
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if _is_run(path) or not _empty(path):
                empty = False
                continue
            with contextlib.suppress(OSError):
                path.rmdir()
        elif entry.name == LOCK:
            empty = False
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return empty


def _is_run(folder: Path) -> bool:
    """Whether another run began in a folder inside of ours."""
    return (folder / LOCK).exists() or (folder / "checkpoints").exists()

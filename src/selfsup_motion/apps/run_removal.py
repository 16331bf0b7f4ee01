"""Deleting run folders: what a run has written, and nothing else."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from selfsup_motion.apps.run_list import goes_on, is_run
from selfsup_motion.errors import UserError
from selfsup_motion.terminal.lock import LOCK, FolderLock

_SHARED = ("config.yaml", "summary.json", ".*.tmp", LOCK)
_OF_TRAINING = (
    "checkpoints", "figures", "results", "tensorboard", "wandb", "config.*.yaml", "overrides.yaml",
    "overrides.*.yaml", "train.log", "metrics.csv", "bad_files.csv", "*-profile*.txt",
)  # fmt: skip
_OF_EVALUATION = (
    "evaluate.log", "results", "predictions", "points", "segmentations", "overlays", "pictures",
    "baselines", "presets", ".drafts", "per_*.csv", "global.csv", "pck.csv", "predictions.csv",
    "sensitivity.*", "submission.zip", "answers.jsonl", "errors.jsonl", "flow.png",
)  # fmt: skip
_QUIET = 600.0
"""Seconds for which a run must have written nothing, where locks do not tell whether it runs."""
_NAMED = 3


def check_removable(run: Path) -> None:
    """Make sure that a folder can be removed.

    Args:
        run: the folder.

    Raises:
        UserError: it is not a run folder, its run goes on, or somebody else put something there.
    """
    if run.is_symlink():
        raise UserError(f"{run}: a link to a run folder; name the folder itself.")
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder.")
    if not is_run(run):
        raise UserError(f"{run}: not a run folder, so it is not deleted here.")
    held = goes_on(run)
    if held or (held is None and time.time() - _last_change(run) < _QUIET):
        raise UserError(f"{run}: this run goes on; stop it first, then delete it.")
    if foreign := sorted(_foreign(run)):
        named = ", ".join(foreign[:_NAMED])
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise UserError(
            f"{run}: no run has written {named}{more}; move that somewhere else first, then delete "
            "the run."
        )


def remove_run(run: Path) -> None:
    """Remove a run folder. Nobody can go on with the run meanwhile.

    Raises:
        UserError: see `check_removable`; or a file cannot be removed: the rest is a run folder
            still, and can be deleted again.
    """
    check_removable(run)
    lock = FolderLock()
    try:
        lock.claim(run, "deleting the run")
    except UserError as error:  # it went on just now
        raise UserError(f"{run}: this run goes on; stop it first, then delete it.") from error
    except OSError as error:
        raise UserError(f"{run}: cannot be deleted ({error.strerror}).") from error
    try:
        # what tells that it is a run goes last
        entries = sorted(os.scandir(run), key=lambda entry: entry.name in ("config.yaml", LOCK))
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        run.rmdir()
    except OSError as error:
        raise UserError(f"{run}: cannot be deleted whole ({error.strerror}).") from error
    finally:
        lock.release()


def _foreign(run: Path) -> Iterator[str]:
    """What no run has written in its folder, and other runs below it."""
    evaluation = (run / "evaluate.log").exists()
    known = (*_SHARED, *(_OF_EVALUATION if evaluation else _OF_TRAINING))
    for entry in os.scandir(run):
        if not any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in known):
            yield entry.name
    for place, names, files in os.walk(run):
        inner = Path(place)
        if inner != run and ("checkpoints" in names or LOCK in files or "config.yaml" in files):
            if "wandb" not in inner.relative_to(run).parts:
                yield f"{inner.relative_to(run)} (a run of its own)"
            names.clear()
        if inner.parent == run and inner.name == "checkpoints":
            yield from (
                f"checkpoints/{name}"
                for name in files
                if not name.endswith((".ckpt", ".tmp")) and name != "wandb_run_id"
            )


def _last_change(run: Path) -> float:
    """When anything in a run folder was written last, in seconds since 1970."""
    latest = 0.0
    for file in (run, *run.rglob("*")):
        with contextlib.suppress(OSError):  # just removed
            latest = max(latest, file.lstat().st_mtime)
    return latest

"""Which checkpoint a command line means: `checkpoint=<file or run folder>` or `checkpoint=auto`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.run_folders import (
    CHECKPOINTS,
    checkpoint_file,
    checkpoint_in,
    newest_first,
    runs_below,
)

log = logging.getLogger(__name__)

RUNS = Path("outputs")
_SHOWN = 3
_EXPERIMENTS = {"CMP": "cmp_animate", "CorrFlow": "corrflow", "MoSI": "mosi"}
"""What trains a method in minutes, without files."""


def chosen_checkpoint(checkpoint: str, method: str) -> Path:
    """The file that `checkpoint=` names.

    Args:
        checkpoint: a file, a run folder or the name of a shipped model; "auto": see
            `newest_checkpoint`.
        method: class of the method whose newest run "auto" takes.

    Raises:
        CheckpointError: there is no such file or run.
    """
    if checkpoint == "auto":
        return newest_checkpoint(method)
    try:
        return checkpoint_file(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint={error}") from error


def newest_checkpoint(method: str, below: Path = RUNS) -> Path:
    """`best.ckpt`, else `last.ckpt`, of the newest run of a method that is finished.

    Debug runs (fast_dev_run, overfit_batches, anything in a folder `debug`) and runs that have not
    come to their end are never taken.

    Args:
        method: name of its class.
        below: folder in which runs are looked for.

    Raises:
        CheckpointError: there is none; it tells which runs were left out, and why.
    """
    left_out = []
    for folder in newest_first(runs_below(below)):
        from selfsup_motion.weights.contents import method_name, read_checkpoint

        run = _read(folder)
        if run is None or method_name(run.config) != method:
            continue
        in_debug = "debug" in folder.relative_to(below).parts
        if reason := _is_debug(run, in_debug) or _is_unfinished(run):
            left_out.append(f"{folder} {reason}")
            continue
        file = checkpoint_in(folder)
        assert file is not None
        try:
            read_checkpoint(file)
        except CheckpointError as error:
            log.warning("checkpoint=auto: %s Trying an older run.", error)
            continue
        return file
    more = f", and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    why = f" ({', '.join(left_out[:_SHOWN])}{more})" if left_out else ""
    experiment = _EXPERIMENTS.get(method)
    train = f"train one with python -m selfsup_motion.train experiment={experiment}, "
    raise CheckpointError(
        f"checkpoint=auto: there is no finished {method} run below {below}/{why}: "
        f"{train if experiment else ''}or name a checkpoint (python -m selfsup_motion.weights "
        "lists those of the package)."
    )


@dataclass(frozen=True)
class _Run:
    """What a run folder says.

    Attributes:
        config: resolved.
        step: of its latest checkpoint.
        time: at which that was written, in nanoseconds.
        summary: of its latest session that ended; empty if there is none.
        summary_time: likewise.
    """

    config: Mapping[str, Any]
    step: int
    time: int
    summary: Mapping[str, Any]
    summary_time: int


def _read(folder: Path) -> _Run | None:
    """None if the folder has no checkpoint of ours that can be read."""
    from selfsup_motion.weights.contents import KEY, read_checkpoint

    files = [folder / "checkpoints" / name for name in CHECKPOINTS]
    files = sorted((f for f in files if f.is_file()), key=lambda f: f.stat().st_mtime_ns)
    content = None
    # `last.ckpt` tells how far the run is, and is at least as new
    for file in sorted(files, key=lambda file: file.name == CHECKPOINTS[-1], reverse=True):
        try:
            content = read_checkpoint(file)
            break
        except CheckpointError as error:
            log.warning("checkpoint=auto: %s", error)
    if content is None:
        return None
    summary, summary_time = {}, 0
    file = folder / "summary.json"
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(loaded, dict):
            summary, summary_time = loaded, file.stat().st_mtime_ns
    except (OSError, ValueError):
        pass  # a run that was killed has none
    config, step = content[KEY]["config"], int(content["global_step"])
    return _Run(config, step, files[-1].stat().st_mtime_ns, summary, summary_time)


def _is_debug(run: _Run, in_debug: bool) -> str:
    """Why a run is one of debugging; empty if it is not."""
    trainer = run.config.get("trainer") or {}
    for key in ("fast_dev_run", "overfit_batches", "detect_anomaly"):
        if trainer.get(key):
            return f"has trainer.{key}={str(trainer[key]).lower()}"
    return "is a debug run" if in_debug else ""


def _is_unfinished(run: _Run) -> str:
    """Why a run is not at its end; empty if it is."""
    wanted = (run.config.get("trainer") or {}).get("max_steps")
    told = run.summary.get("finished")
    if told is not None and run.summary_time >= run.time:
        done = told is True
    elif isinstance(wanted, int) and wanted > 0:
        done = run.step >= wanted  # the session that wrote the checkpoint has not told its end
    else:
        # a run without a number of steps tells its end in its summary; one that says nothing of
        # its training is a checkpoint that somebody has put there
        done = told is True if told is not None else wanted is None
    if done:
        return ""
    of = f" of {wanted}" if isinstance(wanted, int) and wanted > 0 else ""
    return f"is not finished, it is at step {run.step}{of}"

"""What the run folders below a folder tell of themselves, and how two of them differ."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from selfsup_motion.weights.run_folders import checkpoint_in, newest_first, runs_below

_MOST_BYTES = 2_000_000
"""Of a text file that is read: ours have a few thousand."""
_TAIL = 20_000
_FIGURE = re.compile(r"step_(\d+)_([\w.-]+)\.png")
_PLACES = ("paths.", "hydra.")
"""Settings that say where a run is, which differ always."""


@dataclass(frozen=True)
class RunSummary:
    """A run.

    Attributes:
        name: its path below the folder, with "/".
        experiment: empty if it does not say.
        method: name of the class; likewise.
        state: "finished", "stopped", or "running or killed": it has not told its end.
        steps: that it has made; None: unknown.
        max_steps: that it is to make; likewise.
        monitor: the metric by which its best checkpoint is chosen; likewise.
        value: of that metric at the end; likewise.
        time: at which it last wrote a checkpoint, in seconds since 1970.
        size: of its files, in bytes.
        metrics: at the end.
        untrained: those of the network before training.
        figures: names of files in its folder `figures`, by step.
        settings: dotted keys of its config and their values.
    """

    name: str
    experiment: str
    method: str
    state: str
    steps: int | None
    max_steps: int | None
    monitor: str | None
    value: float | None
    time: float
    size: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    untrained: Mapping[str, float] = field(default_factory=dict)
    figures: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def find_runs(folder: Path, most: int) -> dict[str, Path]:
    """The newest run folders with a checkpoint below a folder, by name; links that lead out of it
    are left out."""
    if not folder.is_dir():
        return {}
    inside = (run for run in runs_below(folder) if _is_below(run, folder))
    return {run.relative_to(folder).as_posix(): run for run in newest_first(inside)[:most]}


def read_run(run: Path, name: str) -> RunSummary:
    """What a run folder tells; what is missing or damaged in it is left out.

    Args:
        run: the folder, of `find_runs`.
        name: likewise.
    """
    checkpoint = checkpoint_in(run)
    written = checkpoint.stat().st_mtime if checkpoint is not None else run.stat().st_mtime
    summary, ended = _summary(run)
    settings = _settings(run)
    last = run / "checkpoints" / "last.ckpt"
    newest = last.stat().st_mtime if last.is_file() else written
    # of a session that was resumed and killed, the summary of the one before is still there
    current = bool(summary) and ended >= newest - 1
    finished = summary.get("finished")
    state = "running or killed"
    if current and finished is not None:
        state = "finished" if finished is True else "stopped"
    monitor = settings.get("monitor")
    metrics = _numbers(summary.get("metrics"))
    steps = summary.get("steps") if current else None
    target = str(summary.get("method") or settings.get("method._target_") or "")
    return RunSummary(
        name=name,
        experiment=str(summary.get("experiment") or settings.get("experiment") or ""),
        method=target.rpartition(".")[2],
        state=state,
        steps=steps if isinstance(steps, int) else _last_step(run),
        max_steps=_positive(settings.get("trainer.max_steps")),
        monitor=monitor if isinstance(monitor, str) else None,
        value=metrics.get(str(monitor)),
        time=max(written, newest),
        size=_size(run),
        metrics=metrics,
        untrained=_numbers(summary.get("untrained")),
        figures=tuple(sorted(figure_files(run))),
        settings=settings,
    )


def figure_files(run: Path) -> dict[str, Path]:
    """The pictures in a run's folder `figures`, by name; links that lead out of the run are left
    out."""
    folder = run / "figures"
    if not folder.is_dir():
        return {}
    return {
        file.name: file
        for file in folder.iterdir()
        if _FIGURE.fullmatch(file.name) and file.is_file() and _is_below(file, run)
    }


def differences(first: RunSummary, second: RunSummary) -> list[tuple[str, Any, Any]]:
    """Settings that differ: (key, of the first, of the second), None where one has no such key.

    Where a run writes to is no difference.
    """
    keys = sorted({*first.settings, *second.settings})
    return [
        (key, first.settings.get(key), second.settings.get(key))
        for key in keys
        if not key.startswith(_PLACES) and _entry(first, key) != _entry(second, key)
    ]


def _entry(run: RunSummary, key: str) -> tuple[bool, Any]:
    """null is not the same as nothing."""
    return key in run.settings, run.settings.get(key)


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _text(run: Path, name: str) -> str | None:
    """A text file of a run; None if it is not there, not in the run, or too large to be ours."""
    file = run / name
    try:
        if not _is_below(file, run) or not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return None
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _summary(run: Path) -> tuple[dict[str, Any], float]:
    """`summary.json` and when it was written."""
    text = _text(run, "summary.json")
    if text is None:
        return {}, 0.0
    try:
        loaded = json.loads(text)
        ended = (run / "summary.json").stat().st_mtime
    except (OSError, ValueError, RecursionError):
        return {}, 0.0
    return (loaded, ended) if isinstance(loaded, dict) else ({}, 0.0)


def _settings(run: Path) -> dict[str, Any]:
    try:
        changed = (run / "config.yaml").stat().st_mtime_ns
    except OSError:
        return {}
    return dict(_flat_config(run, changed))


@lru_cache(maxsize=512)
def _flat_config(run: Path, changed: int) -> Mapping[str, Any]:
    """`config.yaml` with dotted keys; `changed` is when, so that it is read again."""
    text = _text(run, "config.yaml")
    if text is None:
        return {}
    try:
        config = OmegaConf.to_container(OmegaConf.create(text))
    except Exception:  # whatever somebody has made of it
        return {}
    return dict(_flat(config)) if isinstance(config, dict) else {}


def _flat(node: Mapping[Any, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{before}{key}.")
        else:
            found.append((f"{before}{key}", value))
    return found


def _numbers(node: Any) -> dict[str, float]:
    if not isinstance(node, Mapping):
        return {}
    return {
        str(key): float(value)
        for key, value in node.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _last_step(run: Path) -> int | None:
    """The last step that `metrics.csv` tells."""
    file = run / "metrics.csv"
    try:
        if not _is_below(file, run):
            return None
        with file.open("rb") as stream:
            head = stream.readline(_TAIL).decode()
            size = stream.seek(0, 2)
            stream.seek(max(len(head), size - _TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except (OSError, ValueError):
        return None
    names = next(csv.reader([head]), [])
    for row in reversed(list(csv.reader(lines))):
        if len(row) == len(names) and "step" in names:
            text = row[names.index("step")]
            if text.isdecimal():
                return int(text)
    return None


def _size(run: Path) -> int:
    total = 0
    for file in run.rglob("*"):
        try:
            total += file.lstat().st_size
        except OSError:  # just removed
            continue
    return total

"""What the run folders below a folder tell of themselves, and how two of them differ."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from selfsup_motion.terminal.lock import LOCK, is_held
from selfsup_motion.weights.run_folders import CHECKPOINTS, checkpoint_in

MOST_SHOWN = 100
"""Of the runs below a folder, in the studio."""

_MOST_BYTES = 2_000_000
"""Of a text file that is read: ours have a few thousand."""
_TAIL = 20_000
_FIGURE = re.compile(r"step_(\d+)_([\w.-]+)\.png")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C takes a tenth of the time."""
_EVALUATED = "evaluate.log"
"""In folders of evaluations that do not train."""
_PLACES = ("paths.", "hydra.")
"""Settings that say where a run is, which differ always."""


@dataclass(frozen=True)
class RunSummary:
    """A run.

    Attributes:
        name: its path below the folder, with "/".
        experiment: of an evaluation, its task; empty if it does not say.
        method: name of the class; of an evaluation, of the encoder; likewise.
        state: "finished", "stopped", "running", "killed", or "running or killed" where its folder
            does not tell which.
        steps: that it has made; None: unknown.
        max_steps: that it is to make; likewise.
        monitor: the metric by which its best checkpoint is chosen, or the headline of a task;
            likewise.
        value: of that metric at the end; likewise.
        time: at which it last wrote a checkpoint, or a result, in seconds since 1970.
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


def find_runs(
    folder: Path, most: int | None = None, *, evaluations: bool = False
) -> dict[str, Path]:
    """The newest run folders below a folder, by name; links that lead out of it are left out.

    Args:
        folder: to look in.
        most: runs that are returned; None: all.
        evaluations: also those of `evaluate`, which have no checkpoint, and runs that were ended
            before their first one.
    """
    if not folder.is_dir():
        return {}
    found = [run for run in _below(folder, evaluations) if _is_below(run, folder)]
    found.sort(key=lambda run: (_written(run), str(run)), reverse=True)
    return {run.relative_to(folder).as_posix(): run for run in found[:most]}


def is_run(folder: Path) -> bool:
    """Whether a folder is one of a training or an evaluation."""
    if checkpoint_in(folder) is not None:
        return True
    try:
        changed = (folder / "config.yaml").stat().st_mtime_ns
    except OSError:
        return False
    keys = _flat_config(folder, changed)
    return "method._target_" in keys or ("task._target_" in keys and "name" in keys)


def read_run(run: Path, name: str) -> RunSummary:
    """What a run folder tells; what is missing or damaged in it is left out.

    Args:
        run: the folder, of `find_runs`.
        name: likewise.
    """
    summary, ended = _summary(run)
    settings = _settings(run)
    written = _written(run)
    newest = _time(run / "checkpoints" / "last.ckpt") or written
    # of a session that was resumed and killed, the summary of the one before is still there
    current = bool(summary) and ended >= newest - 1
    monitor = settings.get("monitor", settings.get("headline"))
    metrics = _numbers(summary.get("metrics"))
    steps = summary.get("steps") if current else None
    target = str(
        summary.get("method") or settings.get("method._target_") or summary.get("encoder") or ""
    )
    experiment = settings.get("experiment") or settings.get("name")
    return RunSummary(
        name=name,
        experiment=str(summary.get("experiment") or summary.get("task") or experiment or ""),
        method=target.rpartition(".")[2],
        state=_state(run, summary if current else {}),
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


def _below(folder: Path, evaluations: bool) -> Iterator[Path]:
    """Run folders below a folder; not what is inside of a run."""
    for place, names, files in os.walk(folder):
        here = Path(place)
        if ("checkpoints" in names and checkpoint_in(here) is not None) or (
            evaluations and "config.yaml" in files and is_run(here)
        ):
            yield here
        if "checkpoints" in names or "config.yaml" in files:
            names.clear()
        names.sort()


def _written(run: Path) -> float:
    """When a run last wrote something that tells how far it is, in seconds since 1970."""
    checkpoints = [run / "checkpoints" / name for name in CHECKPOINTS]
    results = [run / name for name in ("summary.json", "config.yaml")]
    return next(filter(None, (max(map(_time, files)) for files in (checkpoints, results))), 0.0)


def _time(file: Path) -> float:
    """When a file was written last; 0 if it is not there."""
    try:
        return file.stat().st_mtime if file.is_file() else 0.0
    except OSError:  # just removed
        return 0.0


def goes_on(run: Path) -> bool | None:
    """Whether the process of a run is at work in its folder; None if that cannot be told."""
    held = is_held(run)
    # evaluations take their lock away when they end
    ended = held is None and (run / _EVALUATED).exists() and not (run / LOCK).exists()
    return False if ended else held


def _state(run: Path, summary: Mapping[str, Any]) -> str:
    """In a word.

    Args:
        run: the folder.
        summary: of its latest session; empty if that has not told its end.
    """
    held = goes_on(run)
    if held:
        return "running"
    if (run / _EVALUATED).exists() and summary:
        return "finished"
    if summary.get("finished") is not None:
        return "finished" if summary["finished"] is True else "stopped"
    if held is None:
        return "running or killed"
    return "killed" if (run / LOCK).exists() else "stopped"


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
        config = yaml.load(text, Loader=_Loader)
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

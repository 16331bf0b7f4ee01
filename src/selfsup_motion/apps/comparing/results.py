"""What the finished cells of a study say: means over seeds, differences, costs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from selfsup_motion.apps.comparing.running import is_finished
from selfsup_motion.apps.comparing.study import RANDOM, Cell, Study
from selfsup_motion.apps.run_list import read_run

FEWEST = 3
"""Seeds below which an interval says nothing."""
_RESAMPLES = 4000
_PERCENT = (2.5, 97.5)


@dataclass(frozen=True)
class Result:
    """A finished cell.

    Attributes:
        cell: which.
        metrics: at the end.
        headline: the metric that counts; None: the run does not say.
        before: metrics of the untrained network.
        samples: that were trained on; None of evaluations.
        cpu_seconds: of its last session.
        memory_mb: the most that it used.
        baselines: metrics of what the task scores beside the encoder.
        lower_is_better: whether the headline is an error.
    """

    cell: Cell
    metrics: Mapping[str, float]
    headline: str | None
    before: Mapping[str, float]
    samples: int | None
    cpu_seconds: float | None
    memory_mb: float | None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lower_is_better: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: of the row.
        values: of the headline metric, by seed.
        mean: of these.
        spread: their standard deviation; None of a single one.
        difference: mean of the paired differences to the row that is compared with; None: it is
            that row, or none is there.
        interval: 95 % of a bootstrap over seeds; likewise.
        pairs: differences that these are of.
        samples: that a training saw; None: there was none.
        cpu_seconds: of training and evaluation, a mean over seeds.
        memory_mb: the most of any cell.
    """

    name: str
    values: Mapping[int, float]
    mean: float
    spread: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    pairs: int = 0
    samples: int | None = None
    cpu_seconds: float | None = None
    memory_mb: float | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether its value is the same for every seed: nothing in it is random."""
        return len(self.values) == 1 and self.samples is None and not self.name.endswith(RANDOM)


@dataclass(frozen=True)
class Table:
    """What is known of one task, or of the recipes' own validation.

    Attributes:
        title: of the table.
        metric: that it shows; empty: one of each row's own.
        rows: the best first.
        against: the row that the others are compared with.
    """

    title: str
    metric: str
    rows: Sequence[Row]
    against: str | None


def read_results(chains: Sequence[Sequence[Cell]]) -> list[Result]:
    """Those of the finished cells."""
    return [_read(cell) for chain in chains for cell in chain if is_finished(cell)]


def tables(study: Study, results: Sequence[Result]) -> list[Table]:
    """A table for each task that has results."""
    trained = {(r.cell.row, r.cell.seed): r for r in results if r.cell.verb == "train"}
    found = []
    for task in study.tasks:
        of_task = [r for r in results if r.cell.task == task and r.headline in r.metrics]
        if not of_task:
            continue
        metric = str(of_task[0].headline)
        rows = {}
        for name in dict.fromkeys(r.cell.row for r in of_task):
            own = [r for r in of_task if r.cell.row == name]
            rows[name] = _row(name, own, metric, trained)
        for name, values in of_task[0].baselines.items():
            if metric in values and f"{name} (of the task)" not in rows:
                label = f"{name} (of the task)"
                rows[label] = Row(label, {0: values[metric]}, values[metric], None)
        against = study.against.get(task)
        against = _named(against, rows) if against else None
        compared = [_compared(row, rows[against]) if against else row for row in rows.values()]
        best_first = 1 if of_task[0].lower_is_better else -1
        ordered = sorted(compared, key=lambda row: best_first * row.mean)
        found.append(Table(task, metric, ordered, against))
    return found


def validation(results: Sequence[Result]) -> list[tuple[str, str, float, float | None, int]]:
    """What each recipe says of itself: row, metric, mean over seeds, the same before training,
    number of seeds."""
    rows = []
    trained = [r for r in results if r.cell.verb == "train" and r.headline in r.metrics]
    for name in dict.fromkeys(r.cell.row for r in trained):
        own = [r for r in trained if r.cell.row == name]
        metric = str(own[0].headline)
        before = [r.before[metric] for r in own if metric in r.before]
        rows.append((
            name, metric, float(np.mean([r.metrics[metric] for r in own])),
            float(np.mean(before)) if before else None, len(own),
        ))  # fmt: skip
    return rows


def interval(differences: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % of the means of resampled differences.

    Args:
        differences: one a seed.
        seed: of the resampling.
    """
    values = np.asarray(differences, float)
    drawn = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), _PERCENT)
    return float(low), float(high)


def _named(name: str, rows: Mapping[str, Row]) -> str | None:
    """A row as the study calls it; an encoder with random weights has a longer name."""
    return next((known for known in (name, f"{name}{RANDOM}") if known in rows), None)


def _row(
    name: str, own: Sequence[Result], metric: str, trained: Mapping[tuple[str, int], Result]
) -> Row:
    values = {r.cell.seed: r.metrics[metric] for r in own if metric in r.metrics}
    parts = [[r, *([t] if (t := trained.get((name, r.cell.seed))) else [])] for r in own]
    seconds = [sum(p.cpu_seconds or 0.0 for p in cells) for cells in parts]
    memory = [p.memory_mb for cells in parts for p in cells if p.memory_mb is not None]
    samples = [p.samples for cells in parts for p in cells if p.samples is not None]
    spread = float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else None
    return Row(
        name=name,
        values=values,
        mean=float(np.mean(list(values.values()))),
        spread=spread,
        samples=max(samples, default=None),
        cpu_seconds=float(np.mean(seconds)) if seconds else None,
        memory_mb=max(memory, default=None),
    )


def _compared(row: Row, other: Row) -> Row:
    """A row with its paired differences; a row without randomness stands for all seeds."""
    if row.name == other.name:
        return row
    ours, theirs = dict(row.values), dict(other.values)
    if row.is_fixed:
        ours = dict.fromkeys(theirs, row.mean)
    if other.is_fixed:
        theirs = dict.fromkeys(ours, other.mean)
    differences = [value - theirs[seed] for seed, value in ours.items() if seed in theirs]
    if not differences:
        return row
    return replace(
        row,
        difference=float(np.mean(differences)),
        interval=interval(differences) if len(differences) > 1 else None,
        pairs=len(differences),
    )


def _read(cell: Cell) -> Result:
    run = read_run(cell.folder, cell.name)
    summary: dict[str, Any] = json.loads((cell.folder / "summary.json").read_text("utf-8"))
    batch = run.settings.get("data.batch_size")
    trained = cell.verb == "train" and isinstance(batch, int) and run.steps is not None
    baselines = summary.get("baselines")
    return Result(
        cell=cell,
        metrics=run.metrics,
        headline=run.monitor if cell.verb == "train" else run.settings.get("headline"),
        before=run.untrained,
        samples=batch * (run.steps or 0) if trained and isinstance(batch, int) else None,
        cpu_seconds=_number(summary.get("cpu_seconds")),
        memory_mb=_number(summary.get("peak_memory_mb")),
        baselines=baselines if isinstance(baselines, dict) else {},
        lower_is_better=summary.get("lower_is_better") is True,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None

"""What the finished cells of a study say: means over seeds, differences, costs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup_motion.apps.comparing.cells import RANDOM, Cell
from selfsup_motion.apps.comparing.running import is_finished
from selfsup_motion.apps.comparing.study import Study
from selfsup_motion.apps.run_list import RunSummary, read_run

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
        gpu_seconds: likewise, of all its GPUs; None: it used none.
        memory_mb: the most that it used: of the GPU if there was one.
        history: samples and headline metric at each validation of a training, the untrained
            network's at 0.
        is_better: whether a training's headline metric is better than before it; None: unknown.
        baselines: metrics of what the task scores beside the encoder.
        lower_is_better: whether the headline is an error.
        method: class of the method of a training.
    """

    cell: Cell
    metrics: Mapping[str, float]
    headline: str | None
    before: Mapping[str, float]
    samples: int | None
    cpu_seconds: float | None
    memory_mb: float | None
    gpu_seconds: float | None = None
    history: Sequence[tuple[int, float]] = ()
    is_better: bool | None = None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lower_is_better: bool = False
    method: str = ""


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
        gpu_seconds: likewise; None: no cell used a GPU.
        memory_mb: the most of any cell.
        recipe: the row, whatever its budget.
        has_learned: whether most of its trainings measured something better than before them;
            None: unknown.
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
    gpu_seconds: float | None = None
    memory_mb: float | None = None
    recipe: str = ""
    has_learned: bool | None = None

    @property
    def has_support(self) -> bool:
        """Whether its difference means something: of enough seeds, its interval without zero."""
        if self.interval is None or self.pairs < FEWEST:
            return False
        return self.interval[0] > 0 or self.interval[1] < 0

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
        lower_is_better: whether the metric is an error.
    """

    title: str
    metric: str
    rows: Sequence[Row]
    against: str | None
    lower_is_better: bool = False


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
        lower = of_task[0].lower_is_better
        ordered = sorted(compared, key=lambda row: row.mean if lower else -row.mean)
        found.append(Table(task, metric, ordered, against, lower))
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
    gpu = [sum(p.gpu_seconds or 0.0 for p in cells) for cells in parts]
    better = [t.is_better for r in own if (t := trained.get((name, r.cell.seed)))]
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
        gpu_seconds=float(np.mean(gpu)) if any(gpu) else None,
        memory_mb=max(memory, default=None),
        recipe=own[0].cell.recipe or name,
        has_learned=_most(better),
    )


def _most(told: Sequence[bool | None]) -> bool | None:
    """Whether most are true; None if one is unknown."""
    if not told or None in told:
        return None
    return 2 * sum(one is True for one in told) > len(told)


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
    is_training = cell.verb == "train"
    per_step = batch if is_training and isinstance(batch, int) else None
    baselines = summary.get("baselines")
    headline = run.monitor if is_training else run.settings.get("headline")
    wall = _number(summary.get("wall_seconds"))
    return Result(
        cell=cell,
        metrics=run.metrics,
        headline=headline,
        before=run.untrained,
        samples=None if per_step is None or run.steps is None else per_step * run.steps,
        cpu_seconds=_number(summary.get("cpu_seconds")),
        gpu_seconds=wall * int(summary.get("devices", 1))
        if wall is not None and str(summary.get("device")).startswith("cuda")
        else None,
        memory_mb=_number(summary.get("peak_memory_mb")),
        history=_history(cell.folder, str(headline), per_step, run.untrained) if per_step else (),
        is_better=_is_better(run) if is_training else None,
        baselines=baselines if isinstance(baselines, dict) else {},
        lower_is_better=summary.get("lower_is_better") is True,
        method=run.method if is_training else "",
    )


def _is_better(run: RunSummary) -> bool | None:
    """Whether a training's headline metric is better than before."""
    before = run.untrained.get(str(run.monitor))
    if before is None or run.value is None:
        return None
    return run.value > before if run.settings.get("monitor_mode") == "max" else run.value < before


def _history(
    folder: Path, metric: str, per_step: int, untrained: Mapping[str, float]
) -> list[tuple[int, float]]:
    """Samples and metric at each validation, of `metrics.csv`."""
    found = [(0, untrained[metric])] if metric in untrained else []
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                if line.get(metric) and math.isfinite(value := float(line[metric])):
                    found.append((per_step * int(line["step"]), value))
    except (OSError, ValueError, KeyError):  # whatever somebody has made of it
        return []
    return found


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None

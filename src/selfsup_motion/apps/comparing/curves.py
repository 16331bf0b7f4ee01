"""Curves of a study: over budgets, and over the samples of each training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfsup_motion.apps.comparing.results import Result, Table

Point = tuple[float, float, float | None]
"""Samples, mean over seeds, standard deviation (None of a single seed)."""


@dataclass(frozen=True)
class Curves:
    """Lines of one metric.

    Attributes:
        title: of the chart.
        name: of its file.
        task: that it is of; empty: of the trainings themselves.
        metric: that it shows.
        lines: by row, points in the order of their samples.
        levels: of rows without training, which are the same for every budget.
    """

    title: str
    name: str
    task: str
    metric: str
    lines: dict[str, list[Point]]
    levels: dict[str, float]


def over_budgets(tables: Sequence[Table]) -> list[Curves]:
    """A chart for each task of which some recipe was trained with several budgets."""
    found = []
    for table in tables:
        lines: dict[str, list[Point]] = {}
        for row in table.rows:
            if row.samples is not None:
                lines.setdefault(row.recipe, []).append((row.samples, row.mean, row.spread))
        several = {name: sorted(points) for name, points in lines.items() if len(points) > 1}
        if several:
            levels = {row.name: row.mean for row in table.rows if row.samples is None}
            title = f"{table.title} over budgets"
            found.append(
                Curves(title, f"{table.title}_budgets", table.title, table.metric, several, levels)
            )
    return found


def of_training(results: Sequence[Result]) -> list[Curves]:
    """A chart for each metric that recipes measure themselves at more than one moment.

    Each method has its own: metrics of two methods may have one name, and mean other things.
    """
    by_metric: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in results:
        if len(result.history) > 1:
            rows = by_metric.setdefault((result.method, str(result.headline)), {})
            rows.setdefault(result.cell.row, []).append(result)
    found = []
    for (method, metric), rows in by_metric.items():
        lines = {row: _mean_line(own) for row, own in rows.items()}
        name = f"training_{method}_{metric.replace('/', '_')}"
        title = f"{method}: {metric} during training"
        found.append(Curves(title, name, "", metric, lines, {}))
    return found


def _mean_line(results: Sequence[Result]) -> list[Point]:
    """The mean over seeds where all have been measured."""
    histories = [dict(result.history) for result in results]
    shared = sorted(set.intersection(*(set(history) for history in histories)))
    points: list[Point] = []
    for samples in shared:
        values = [history[samples] for history in histories]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        points.append((samples, float(np.mean(values)), spread))
    return points

"""Metrics as tables in CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selfsup_motion.text.names import register_handler

Values = dict[str, float]
"""By metric."""


def write_table(path: Path, key: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write a row for each name, with a column for each metric; what is not a number stays empty.

    Args:
        path: of the file; its folder exists.
        key: what the first column is called.
        rows: metrics by name.
    """
    columns = list(dict.fromkeys(metric for values in rows.values() for metric in values))
    with path.open("w", newline="", encoding="utf-8", errors=register_handler()) as stream:
        writer = csv.writer(stream)
        writer.writerow([key, *columns])
        for name, values in rows.items():
            known = {m: v for m, v in values.items() if not math.isnan(v)}
            writer.writerow([name, *(known.get(column, "") for column in columns)])


def mean_of(rows: Sequence[Mapping[str, float]]) -> Values:
    """The mean of each metric over the rows that have it, those that are not a number left out."""
    metrics = dict.fromkeys(metric for values in rows for metric in values)
    found = {m: [v[m] for v in rows if not math.isnan(v.get(m, math.nan))] for m in metrics}
    return {metric: float(np.mean(values)) for metric, values in found.items() if values}

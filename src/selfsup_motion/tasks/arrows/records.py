"""What a task has measured, a record for each item: kept for a resumed run, averaged, tabulated."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from selfsup_motion.files.atomic import new_file
from selfsup_motion.text.names import register_handler

log = logging.getLogger(__name__)

Values = dict[str, float]
"""By metric."""
Rows = dict[str, Values]
"""Of one item, by who answered; "" is the network that is judged."""


class Records:
    """A file of JSON lines, one for each finished group of items.

    A line is written when its group is done; one that was cut off is measured again.

    Args:
        path: of the file.
        reuse: take over the lines that are there; else the file begins anew.
    """

    def __init__(self, path: Path, *, reuse: bool) -> None:
        self._path = path
        self._known: dict[str, dict[str, Rows]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if reuse and path.is_file() else []
        for number, line in enumerate(lines, start=1):
            try:
                name, items = json.loads(line)
            except ValueError:
                log.warning("%s:%d is damaged or incomplete: computed again.", path, number)
                continue
            self._known[name] = items
        if lines or path.is_file():
            with new_file(path) as draft:
                draft.write_text("".join(self._line(n, i) for n, i in self._known.items()), "utf-8")

    def get(self, name: str) -> dict[str, Rows] | None:
        """The items of a group that is finished, by their names."""
        return self._known.get(name)

    def add(self, name: str, items: dict[str, Rows]) -> None:
        """A group is finished."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(self._line(name, items))
        self._known[name] = items

    @staticmethod
    def _line(name: str, items: dict[str, Rows]) -> str:
        return json.dumps([name, items]) + "\n"


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; the error of a single value is not known, NaN."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, float(np.std(values, ddof=1) / math.sqrt(len(values)))


def columns(items: Iterable[Rows], who: str) -> dict[str, list[float]]:
    """The values of one who answered, by metric, in the items' order."""
    found: dict[str, list[float]] = {}
    for rows in items:
        for metric, value in rows.get(who, {}).items():
            found.setdefault(metric, []).append(value)
    return found


def write_tables(folder: Path, groups: Mapping[str, Mapping[str, Rows]], kinds: str) -> list[str]:
    """Write `per_<group>.csv` with means and `per_<item>.csv`; of others than the network in
    `baselines/<name>`.

    Args:
        folder: exists.
        groups: items of each group.
        kinds: what a group and an item are called, "sequence question"; "pair" if each group is an
            item by itself.

    Returns:
        All who answered.
    """
    group_kind, *item_kind = kinds.split()
    everyone = dict.fromkeys(
        who for items in groups.values() for rows in items.values() for who in rows
    )
    for who in everyone:
        place = folder / "baselines" / who if who else folder
        place.mkdir(parents=True, exist_ok=True)
        means = {
            name: {m: float(np.mean(v)) for m, v in columns(items.values(), who).items()}
            for name, items in groups.items()
            if items
        }
        _write(place / f"per_{group_kind}.csv", group_kind, means)
        single = {
            name: rows.get(who, {}) for items in groups.values() for name, rows in items.items()
        }
        for kind in item_kind:
            _write(place / f"per_{kind}.csv", kind, single)
    return list(everyone)


def _write(path: Path, kind: str, rows: Mapping[str, Values]) -> None:
    metrics = list(dict.fromkeys(metric for values in rows.values() for metric in values))
    with path.open("w", newline="", encoding="utf-8", errors=register_handler()) as stream:
        writer = csv.writer(stream)
        writer.writerow([kind, *metrics])
        for name, values in rows.items():
            writer.writerow([name, *(values.get(metric, "") for metric in metrics)])

"""What a study will run and what that is expected to cost, before it begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from selfsup_motion.apps.comparing.cells import Cell
from selfsup_motion.apps.comparing.running import is_finished
from selfsup_motion.apps.comparing.study import Study

_Kind = tuple[str, str | None]
"""Row and task of cells that differ in their seed alone."""


@dataclass(frozen=True)
class Line:
    """Cells that differ in their seed alone.

    Attributes:
        row: of the table.
        task: None: trainings.
        cells: how many.
        finished: of these.
        steps: of each training.
        seconds: CPU-seconds that a cell takes; None: unknown.
        is_measured: whether a finished cell of the line says so, not the study.
    """

    row: str
    task: str | None
    cells: int
    finished: int
    steps: int | None
    seconds: float | None
    is_measured: bool

    @property
    def left(self) -> float | None:
        """CPU-seconds of what is not finished."""
        missing = self.cells - self.finished
        return 0.0 if not missing else None if self.seconds is None else missing * self.seconds


def plan(study: Study, chains: Sequence[Sequence[Cell]]) -> list[Line]:
    """The lines of a study's plan, trainings and evaluations in their order.

    What a cell costs is what finished cells of its line took; else what the study expects of its
    budget; else what other rows took in the same task.
    """
    kinds: dict[_Kind, list[Cell]] = {}
    for cell in (cell for chain in chains for cell in chain):
        kinds.setdefault((cell.row, cell.task), []).append(cell)
    taken = {kind: _taken(cells) for kind, cells in kinds.items()}
    of_task: dict[str, list[float]] = {}
    for (_, task), seconds in taken.items():
        of_task.setdefault(str(task), []).extend(seconds.values())
    lines = []
    for (row, task), cells in kinds.items():
        seconds = taken[row, task]
        lines.append(Line(
            row=row,
            task=task,
            cells=len(cells),
            finished=len(seconds),
            steps=cells[0].steps,
            seconds=mean(seconds.values()) if seconds
            else _expected(study, cells[0], of_task.get(str(task), ())),
            is_measured=bool(seconds),
        ))  # fmt: skip
    return lines


def total(lines: Sequence[Line]) -> tuple[float, int]:
    """CPU-seconds of what is not finished, and the number of cells of which none are known."""
    known = sum(line.left for line in lines if line.left is not None)
    return known, sum(line.cells - line.finished for line in lines if line.left is None)


def _taken(cells: Sequence[Cell]) -> dict[int, float]:
    """CPU-seconds of the finished cells, by seed."""
    found = {}
    for cell in cells:
        if not is_finished(cell):
            continue
        summary = json.loads((cell.folder / "summary.json").read_text("utf-8"))
        seconds = summary.get("cpu_seconds")
        found[cell.seed] = float(seconds) if isinstance(seconds, (int, float)) else 0.0
    return found


def _expected(study: Study, cell: Cell, others: Sequence[float]) -> float | None:
    """CPU-seconds of a cell of which none is finished."""
    budget = cell.budget or next(iter(study.budgets), "")
    costs: Mapping[str, float] = study.expected.get(budget, {})
    if cell.task is None:
        return costs.get(cell.recipe or cell.row)
    return mean(others) if others else costs.get(cell.task)

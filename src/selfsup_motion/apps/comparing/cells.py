"""The cells of a study: what each of them runs, and what it is called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion import __version__
from selfsup_motion.apps.comparing.study import Study
from selfsup_motion.apps.preflight import task_needs
from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import as_text, readable
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.constants import constant
from selfsup_motion.settings.diagnose import explain
from selfsup_motion.settings.groups import described

Verb = Literal["train", "evaluate"]

RANDOM = ", random"
"""Ends the name of a row whose encoder has random weights."""

_OF_PLACE = ("paths", "resume", "checkpoint", "seed", "device", "print_config", "trust")
"""Settings that say where or how a cell is run, not what comes out of it."""


@dataclass(frozen=True)
class Cell:
    """A run of the study.

    Attributes:
        name: "cmp, seed 0" or "cmp, seed 0, davis2017".
        verb: the command.
        row: of the table.
        seed: of the training.
        task: None: it is a training.
        overrides: the command line, without the folder.
        key: of its resolved config: a cell whose settings change is another one.
        folder: its run folder.
        recipe: the row, whatever its budget; empty: the same as `row`.
        budget: name of the training's budget.
        steps: of the training, as its config says; None: there is none.
    """

    name: str
    verb: Verb
    row: str
    seed: int
    task: str | None
    overrides: tuple[str, ...]
    key: str
    folder: Path
    recipe: str = ""
    budget: str = ""
    steps: int | None = None


def cells_of(study: Study, folder: Path) -> list[list[Cell]]:
    """The cells in the order in which they can run: each list is a training and what follows it.

    What needs no training is first, then every row with the first seed: a report that is made on
    the way has all rows.

    Args:
        study: what is compared.
        folder: below which the cells' run folders are.

    Raises:
        UserError: settings that cannot be composed, two cells of one name, or nothing to run.
    """
    tasks = {name: _Task(name, overrides) for name, overrides in study.tasks.items()}
    chains = [[cell] for task in tasks.values() for cell in _untrained(study, task, folder)]
    trainings = [training for row in study.rows for training in _trainings(study, row)]
    chains += [
        _chain(training, seed, _asked(study, training, tasks), folder)
        for seed in study.seeds
        for training in trainings
    ]
    names = [cell.name for chain in chains for cell in chain]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"Two cells are called {twice!r}: give one of the rows another name.")
    if not names:
        raise UserError(
            f"study={study.name}: there is nothing to run; name experiments or encoders."
        )
    return chains


class _Task:
    """A task as every cell asks it."""

    def __init__(self, name: str, overrides: tuple[str, ...]) -> None:
        self.name, self.overrides = name, overrides
        cfg = _composed(self.overrides, "evaluate", f"tasks.{name}")
        self.trains = "method" in cfg
        self.sees = task_needs(cfg, cfg.method if self.trains else cfg.task)["encoder"]
        self.key = _hash(_plain(cfg))

    def takes(self, target: str, method: str | None) -> bool:
        """Whether an encoder, by its class, or a method can be asked."""
        if self.sees == "cmp":
            return bool(method) and str(method).rpartition(".")[2] == "CMP"
        sees = constant(target, "sees")
        return self.sees == "any" or sees == self.sees


@dataclass(frozen=True)
class _Training:
    """A row with one budget; what differs between its cells is the seed."""

    row: str
    recipe: str
    budget: str
    overrides: tuple[str, ...]
    encoder: str
    method: str
    steps: int | None
    key: str


def _trainings(study: Study, recipe: str) -> Iterator[_Training]:
    experiment, changes = study.rows[recipe]
    for budget, own in (study.budgets or {"": ()}).items():
        row = f"{recipe}, {budget}" if len(study.budgets) > 1 else recipe
        overrides = (f"experiment={experiment}", *study.training, *own, *changes, *study.last)
        cfg = _composed(overrides, "train", f"row {row}")
        steps = OmegaConf.select(cfg, "trainer.max_steps")
        yield _Training(
            row=row,
            recipe=recipe,
            budget=budget,
            overrides=overrides,
            encoder=str((cfg.get("encoder") or {}).get("_target_") or ""),
            method=str(cfg.method._target_),
            steps=steps if isinstance(steps, int) and steps > 0 else None,
            key=_hash(_plain(cfg)),
        )


def _asked(study: Study, training: _Training, tasks: Mapping[str, _Task]) -> list[_Task]:
    """The tasks of a row."""
    if (wanted := study.asked.get(training.recipe)) is not None:
        return [tasks[name] for name in wanted if name in tasks]
    return [
        task for task in tasks.values()
        if training.recipe in study.only.get(task.name, [training.recipe])
        and task.takes(training.encoder, training.method)
    ]  # fmt: skip


def _chain(training: _Training, seed: int, tasks: Sequence[_Task], folder: Path) -> list[Cell]:
    """A training and the tasks that its encoder fits."""
    place = folder / "cells" / _folder_name(training.row, "train", seed, training.key)
    first = Cell(
        f"{training.row}, seed {seed}", "train", training.row, seed, None,
        (*training.overrides, f"seed={seed}"), training.key, place,
        training.recipe, training.budget, training.steps,
    )  # fmt: skip
    chain = [first]
    for task in tasks:
        own = _hash([task.key, training.key])
        chain.append(Cell(
            f"{training.row}, seed {seed}, {task.name}", "evaluate", training.row, seed, task.name,
            (*task.overrides, as_text("checkpoint", str(place)), f"seed={seed}"), own,
            folder / "cells" / _folder_name(training.row, task.name, seed, own),
            training.recipe, training.budget,
        ))  # fmt: skip
    return chain


def _untrained(study: Study, task: _Task, folder: Path) -> Iterator[Cell]:
    """Encoders that are evaluated as they are: without training, or of a file."""
    for name in study.references.get(task.name, ()):
        cfg = _composed((f"encoder={name}", *task.overrides), "evaluate", f"encoder {name}")
        key = _hash([_plain(cfg), name])
        # what has weights gets random ones, of each seed
        learned = not described("encoder")[name].startswith("No weights")
        for seed in study.seeds if learned else study.seeds[:1]:
            row = f"{name}{RANDOM}" if learned else name
            yield Cell(
                f"{row}, seed {seed}, {task.name}", "evaluate", row, seed, task.name,
                (*task.overrides, f"encoder={name}", f"seed={seed}"), key,
                folder / "cells" / _folder_name(name, task.name, seed, key),
            )  # fmt: skip
    for row, checkpoint in study.given.get(task.name, {}).items():
        key = _hash([task.key, checkpoint, _changed(checkpoint)])
        yield Cell(
            f"{row}, {task.name}", "evaluate", row, 0, task.name,
            (*task.overrides, as_text("checkpoint", checkpoint)), key,
            folder / "cells" / _folder_name(row, task.name, 0, key),
        )  # fmt: skip


def _composed(overrides: Sequence[str], command: Verb, where: str) -> DictConfig:
    try:
        return compose(readable(overrides), config_name=command)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{where}: {explain(error, list(overrides), command)}") from error


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """What a composed config says about the result, references as they are written: data that
    tell a part of it are not opened here."""
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items() if key not in _OF_PLACE}


def _hash(value: Any) -> str:
    text = json.dumps([__version__, value], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _folder_name(row: str, what: str, seed: int, key: str) -> str:
    plain = re.sub(r"[^\w.+-]+", "_", row).strip("_")
    return f"{plain}-{what}-seed{seed}-{key}"


def _changed(checkpoint: str) -> float | None:
    """When the file that is meant was written; None of the name of a model."""
    from selfsup_motion.weights.run_folders import checkpoint_file

    try:
        file = checkpoint_file(checkpoint)
    except UserError as error:
        raise UserError(f"encoders={error}") from error
    return file.stat().st_mtime if Path(checkpoint).exists() else None

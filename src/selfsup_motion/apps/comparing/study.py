"""A study: which cells it has, what each of them runs, and what they are called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion import __version__
from selfsup_motion.apps.preflight import task_needs
from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import as_text, readable
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.constants import constant
from selfsup_motion.settings.diagnose import explain
from selfsup_motion.settings.groups import config_dir, described, options, own_folders
from selfsup_motion.settings.nearest import nearest_name

Verb = Literal["train", "evaluate"]

RANDOM = ", random"
"""Ends the name of a row whose encoder has random weights."""

_LISTS = ("experiments", "leave_out", "seeds", "rows", "overrides")
_MAPPINGS = ("budgets", "tasks", "references", "against")
_TEXTS = ("about", "budget")
_OF_PLACE = ("paths", "resume", "checkpoint", "seed", "device", "print_config", "trust")
"""Settings that say where or how a cell is run, not what comes out of it."""


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        name: of the study.
        about: a sentence.
        rows: name of each row to its recipe and overrides.
        seeds: of every training.
        budget: name of the budget.
        training: overrides of every training.
        tasks: name to overrides of `evaluate`.
        references: for a task, the encoders without training.
        against: for a task, the row that the others are compared with.
        given: encoders that exist already, by row: `checkpoint=` of `evaluate`.
    """

    name: str
    about: str = ""
    rows: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    budget: str = ""
    training: tuple[str, ...] = ()
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    against: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)


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
    """

    name: str
    verb: Verb
    row: str
    seed: int
    task: str | None
    overrides: tuple[str, ...]
    key: str
    folder: Path


def read_study(
    name: str,
    *,
    budget: str | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
) -> Study:
    """A study of `conf/studies`, or of a file `….yaml`.

    Args:
        name: of the study, or path of the file.
        budget: instead of the one that the study names.
        seeds: likewise.
        overrides: of every training, behind those of the study.

    Raises:
        UserError: there is no such study, or something in it cannot be.
    """
    file = _file(name)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"study={name}: {file} cannot be read ({reason}).") from error
    if isinstance(content, dict):
        given = {"budget": budget, "seeds": seeds and list(seeds)}
        content |= {key: value for key, value in given.items() if value is not None}
    study = _checked(content, file.stem, f"study={name}")
    return replace(study, training=(*study.training, *overrides))


def cells_of(study: Study, folder: Path) -> list[list[Cell]]:
    """The cells in the order in which they can run: each list is a training and what follows it.

    Args:
        study: what is compared.
        folder: below which the cells' run folders are.

    Raises:
        UserError: settings that cannot be composed, two cells of one name, or nothing to run.
    """
    tasks = {name: _Task(name, overrides) for name, overrides in study.tasks.items()}
    chains = [
        chain
        for row, recipe in study.rows.items()
        for chain in _trained(study, row, *recipe, tasks, folder)
    ]
    for task in tasks.values():
        chains += [[cell] for cell in _untrained(study, task, folder)]
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
        self.name, self.overrides = name, (f"task={name}", *overrides)
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


def _trained(
    study: Study,
    row: str,
    experiment: str,
    changes: tuple[str, ...],
    tasks: Mapping[str, _Task],
    folder: Path,
) -> Iterator[list[Cell]]:
    overrides = (f"experiment={experiment}", *study.training, *changes)
    cfg = _composed(overrides, "train", f"row {row}")
    key = _hash(_plain(cfg))
    encoder = (cfg.get("encoder") or {}).get("_target_") or ""
    for seed in study.seeds:
        place = folder / "cells" / _folder_name(row, "train", seed, key)
        first = Cell(
            f"{row}, seed {seed}",
            "train",
            row,
            seed,
            None,
            (*overrides, f"seed={seed}"),
            key,
            place,
        )
        chain = [first]
        for task in tasks.values():
            if not task.takes(str(encoder), cfg.method._target_):
                continue
            own = _hash([task.key, key])
            chain.append(
                Cell(
                    f"{row}, seed {seed}, {task.name}",
                    "evaluate",
                    row,
                    seed,
                    task.name,
                    (*task.overrides, as_text("checkpoint", str(place))),
                    own,
                    folder / "cells" / _folder_name(row, task.name, seed, own),
                )
            )
        yield chain


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
    for row, checkpoint in study.given.items():
        key = _hash([task.key, checkpoint, _changed(checkpoint)])
        yield Cell(
            f"{row}, {task.name}", "evaluate", row, 0, task.name,
            (*task.overrides, as_text("checkpoint", checkpoint)), key,
            folder / "cells" / _folder_name(row, task.name, 0, key),
        )  # fmt: skip


def _file(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UserError(f"study={name}: there is no such file.")
        return Path(name)
    for folder in (*own_folders(), config_dir()):
        if (file := folder / "studies" / f"{name}.yaml").is_file():
            return file
    known = options("studies")
    guess = nearest_name(name, known)
    hint = f"did you mean {guess}? There are" if guess else "there are"
    raise UserError(
        f"study={name}: there is no such study, {hint} {', '.join(known)}, or a file: my.yaml."
    )


def _checked(content: Any, name: str, where: str) -> Study:
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a mapping of {', '.join(_LISTS + _MAPPINGS)}.")
    known = (*_LISTS, *_MAPPINGS, *_TEXTS)
    for key, value in content.items():
        if key not in known:
            guess = nearest_name(str(key), known)
            hint = f"did you mean {guess}?" if guess else f"it may have {', '.join(known)}."
            raise UserError(f"{where}: unknown key {key}, {hint}")
        kind = list if key in _LISTS else dict if key in _MAPPINGS else str
        if not isinstance(value, kind):
            word = {"list": "a list", "dict": "a mapping", "str": "a text"}[kind.__name__]
            raise UserError(f"{where}: {key} must be {word}.")
    seeds = content.get("seeds", [0])
    if not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise UserError(f"{where}: seeds must be a list of whole numbers.")
    budgets, budget = content.get("budgets", {}), content.get("budget", "")
    if budget and budget not in budgets:
        raise UserError(f"{where}: there is no budget {budget}, only {', '.join(budgets)}.")
    tasks = {_known(task, "task", where): _texts(v, f"{where}: tasks.{task}")
             for task, v in content.get("tasks", {}).items()}  # fmt: skip
    references = {task: _texts(v, f"{where}: references.{task}")
                  for task, v in content.get("references", {}).items()}  # fmt: skip
    for task, encoders in references.items():
        if task not in tasks:
            raise UserError(f"{where}: references.{task}: the study has no such task.")
        for encoder in encoders:
            _known(encoder, "encoder", where)
    common = _texts(content.get("overrides", []), f"{where}: overrides")
    own = _texts(budgets.get(budget, []), f"{where}: budgets.{budget}")
    return Study(
        name=name,
        about=content.get("about", ""),
        rows=_rows(content, where),
        seeds=tuple(seeds),
        budget=budget,
        training=(*common, *own),
        tasks=tasks,
        references=references,
        against={str(task): str(row) for task, row in content.get("against", {}).items()},
    )


def _rows(content: Mapping[str, Any], where: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The recipes by row."""
    left_out = {_known(str(name), "experiment", where) for name in content.get("leave_out", [])}
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for pattern in map(str, content.get("experiments", [])):
        if "*" not in pattern:
            found[_known(pattern, "experiment", where)] = (pattern, ())
            continue
        expression = re.escape(pattern).replace(r"\*", "[^/]*")
        names = [name for name in options("experiment") if re.fullmatch(expression, name)]
        if not names:
            raise UserError(f"{where}: no experiment is like {pattern}.")
        found |= {name: (name, ()) for name in names if name not in left_out}
    for row in content.get("rows", []):
        if not isinstance(row, dict) or not {"name", "experiment"} <= set(row) <= {
            "name", "experiment", "overrides",
        }:  # fmt: skip
            raise UserError(f"{where}: rows: expected {{name: …, experiment: …, overrides: […]}}.")
        name = str(row["name"])
        if name in found:
            raise UserError(f"{where}: two rows are called {name}; give one of them another name.")
        changes = _texts(row.get("overrides", []), f"{where}: rows.{name}")
        found[name] = (_known(str(row["experiment"]), "experiment", where), changes)
    return found


def _known(name: str, group: str, where: str) -> str:
    if name not in options(group):
        guess = nearest_name(name, options(group))
        hint = f"did you mean {guess}?" if guess else f"see conf/{group}."
        raise UserError(f"{where}: there is no {group} {name}, {hint}")
    return name


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError(f"{where}: expected a list of texts, [key=value,…].")
    return tuple(value)


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

    file = checkpoint_file(checkpoint)
    return file.stat().st_mtime if Path(checkpoint).exists() else None

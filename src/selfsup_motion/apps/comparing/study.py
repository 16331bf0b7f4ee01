"""A study: what it compares, as its YAML file says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import as_text
from selfsup_motion.settings.groups import config_dir, options, own_folders
from selfsup_motion.settings.nearest import nearest_name

_LISTS = ("experiments", "leave_out", "seeds", "rows", "overrides")
_MAPPINGS = ("budgets", "tasks", "only", "references", "encoders", "against", "roots", "expected")
_TEXTS = ("about",)
_ROOT = re.compile(r"\$\{roots\.(\w+)\}")


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        name: of the study.
        about: a sentence.
        rows: name of each row to its recipe and overrides.
        seeds: of every training.
        budgets: of every training, by name: each with its overrides.
        training: overrides of every training.
        tasks: name to overrides of `evaluate`, the first of which is task=….
        asked: of a row, the only tasks that it is asked in; of others, all that its encoder fits.
        only: of a task, the only rows that are asked, beside those that name it themselves.
        references: for a task, the encoders without training.
        against: for a task, the row that the others are compared with.
        given: for a task, encoders that exist already, by row: `checkpoint=` of `evaluate`.
        expected: CPU-seconds of a cell, by budget: of trainings by row, of evaluations by task.
        last: overrides of every training, behind all others.
        notes: what is left out, and why, a sentence each.
    """

    name: str
    about: str = ""
    rows: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    budgets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    against: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    expected: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    last: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_study(
    name: str,
    *,
    budget: str | Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    rows: Sequence[str] = (),
    tasks: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Study:
    """A study of `conf/studies`, or of a file `….yaml`.

    Args:
        name: of the study, or path of the file.
        budget: instead of what the study names; several for curves.
        seeds: likewise.
        rows: only these of it; none: all.
        tasks: likewise.
        roots: the folders that the study asks for, by the names that it gives them.
        overrides: of every training, behind those of the study.

    Raises:
        UserError: there is no such study, something in it cannot be, or a folder is missing.
    """
    file, where = _file(name), f"study={name}"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: {file} cannot be read ({reason}).") from error
    if isinstance(content, dict):
        given = {"budget": budget, "seeds": seeds and list(seeds)}
        content |= {key: value for key, value in given.items() if value is not None}
    study = _checked(content, file.stem, where)
    study = _only(study, rows, tasks, where)
    study = _rooted(study, content.get("roots", {}), roots or {}, where)
    return replace(study, last=tuple(overrides))


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
    known = (*_LISTS, *_MAPPINGS, *_TEXTS, "budget")
    for key, value in content.items():
        if key not in known:
            guess = nearest_name(str(key), known)
            hint = f"did you mean {guess}?" if guess else f"it may have {', '.join(known)}."
            raise UserError(f"{where}: unknown key {key}, {hint}")
        kind = list if key in _LISTS else dict if key in _MAPPINGS else str
        if key != "budget" and not isinstance(value, kind):
            word = {"list": "a list", "dict": "a mapping", "str": "a text"}[kind.__name__]
            raise UserError(f"{where}: {key} must be {word}.")
    seeds = content.get("seeds", [0])
    if not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise UserError(f"{where}: seeds must be a list of whole numbers.")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: a seed is named twice.")
    tasks = {str(name): _task(str(name), value, where)
             for name, value in content.get("tasks", {}).items()}  # fmt: skip
    references = {task: _texts(v, f"{where}: references.{task}")
                  for task, v in content.get("references", {}).items()}  # fmt: skip
    for key in ("only", "references", "encoders", "against"):
        for task in content.get(key, {}):
            if task not in tasks:
                raise UserError(f"{where}: {key}.{task}: the study has no such task.")
    for encoders in references.values():
        for encoder in encoders:
            _known(encoder, "encoder", where)
    for task, value in content.get("encoders", {}).items():
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise UserError(f"{where}: encoders.{task}: expected {{name of the row: checkpoint}}.")
    rows = _rows(content, where)
    return Study(
        name=name,
        about=content.get("about", ""),
        rows=rows,
        seeds=tuple(seeds),
        budgets=_budgets(content, where),
        training=_texts(content.get("overrides", []), f"{where}: overrides"),
        tasks=tasks,
        asked=_asked(content.get("rows", []), tasks, where),
        only=_rows_of_tasks(content, rows, where),
        references=references,
        against={str(task): str(row) for task, row in content.get("against", {}).items()},
        given={task: {str(row): v for row, v in value.items()}
               for task, value in content.get("encoders", {}).items()},
        expected=_expected(content, where),
    )  # fmt: skip


def _task(name: str, value: Any, where: str) -> tuple[str, ...]:
    """`name: […]`, or `another name: {task: …, overrides: […]}` to ask a task in several ways."""
    if isinstance(value, dict):
        if not {"task"} <= set(value) <= {"task", "overrides"}:
            raise UserError(f"{where}: tasks.{name}: expected {{task: …, overrides: […]}}.")
        task, overrides = str(value["task"]), value.get("overrides", [])
    else:
        task, overrides = name, value
    _known(task, "task", where)
    return (f"task={task}", *_texts(overrides, f"{where}: tasks.{name}"))


def _asked(
    rows: Sequence[Mapping[str, Any]], tasks: Mapping[str, Any], where: str
) -> dict[str, tuple[str, ...]]:
    found = {}
    for row in rows:
        if "tasks" not in row:
            continue
        found[str(row["name"])] = _texts(row["tasks"], f"{where}: rows.{row['name']}.tasks")
        for task in found[str(row["name"])]:
            if task not in tasks:
                raise UserError(f"{where}: rows.{row['name']}: the study has no task {task}.")
    return found


def _rows_of_tasks(
    content: Mapping[str, Any], rows: Iterable[str], where: str
) -> dict[str, tuple[str, ...]]:
    """Rows by task, of the patterns that `only` has."""
    found = {}
    for task, value in content.get("only", {}).items():
        patterns = _texts(value, f"{where}: only.{task}")
        for pattern in patterns:
            if not any(_is_like(row, pattern) for row in rows):
                raise UserError(f"{where}: only.{task}: the study has no row like {pattern}.")
        found[str(task)] = tuple(row for row in rows if any(_is_like(row, p) for p in patterns))
    return found


def _budgets(content: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    """Those that are chosen."""
    budgets, chosen = content.get("budgets", {}), content.get("budget", [])
    names = [chosen] if isinstance(chosen, str) else chosen
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise UserError(f"{where}: budget must be a name or a list of names.")
    if unknown := next((one for one in names if one and one not in budgets), None):
        raise UserError(f"{where}: there is no budget {unknown}, only {', '.join(budgets)}.")
    return {one: _texts(budgets[one], f"{where}: budgets.{one}") for one in names if one}


def _expected(content: Mapping[str, Any], where: str) -> dict[str, dict[str, float]]:
    expected = content.get("expected", {})
    for budget, costs in expected.items():
        if not isinstance(costs, dict) or not all(
            isinstance(cost, (int, float)) for cost in costs.values()
        ):
            raise UserError(f"{where}: expected.{budget}: expected {{row or task: seconds}}.")
    return {str(budget): dict(costs) for budget, costs in expected.items()}


def _rows(content: Mapping[str, Any], where: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The recipes by row."""
    left_out = {_known(str(name), "experiment", where) for name in content.get("leave_out", [])}
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for pattern in map(str, content.get("experiments", [])):
        if "*" not in pattern:
            found[_known(pattern, "experiment", where)] = (pattern, ())
            continue
        names = [name for name in options("experiment") if _is_like(name, pattern)]
        if not names:
            raise UserError(f"{where}: no experiment is like {pattern}.")
        found |= {name: (name, ()) for name in names if name not in left_out}
    for row in content.get("rows", []):
        if not isinstance(row, dict) or not {"name", "experiment"} <= set(row) <= {
            "name", "experiment", "overrides", "tasks",
        }:  # fmt: skip
            raise UserError(
                f"{where}: rows: expected {{name: …, experiment: …, overrides: […], tasks: […]}}."
            )
        name = str(row["name"])
        if name in found:
            raise UserError(f"{where}: two rows are called {name}; give one of them another name.")
        changes = _texts(row.get("overrides", []), f"{where}: rows.{name}")
        found[name] = (_known(str(row["experiment"]), "experiment", where), changes)
    return found


def _is_like(name: str, pattern: str) -> bool:
    """Whether a pattern, in which * stands for anything but a slash, matches all of a name."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), name))


def _only(study: Study, rows: Sequence[str], tasks: Sequence[str], where: str) -> Study:
    """What is left of a study of which only some rows or tasks are wanted."""
    for key, wanted, there in (("rows", rows, study.rows), ("tasks", tasks, study.tasks)):
        for name in wanted:
            if name not in there:
                guess = nearest_name(name, list(there))
                hint = f"did you mean {guess}?" if guess else f"only {', '.join(there) or 'none'}."
                raise UserError(f"{where}: {key}: it has no {name}, {hint}")
    kept = [task for task in study.tasks if task in (tasks or [task])]
    return replace(
        study,
        rows={name: row for name, row in study.rows.items() if name in (rows or [name])},
        tasks={task: study.tasks[task] for task in kept},
        references={task: study.references[task] for task in kept if task in study.references},
        given={task: study.given[task] for task in kept if task in study.given},
        against={task: study.against[task] for task in kept if task in study.against},
    )


def _rooted(study: Study, asked: Mapping[str, Any], given: Mapping[str, str], where: str) -> Study:
    """A study with the folders of this machine.

    Encoders whose file is not named are left out; whatever else is missing is an error.
    """
    for name in given:
        if name not in asked:
            guess = nearest_name(name, list(asked))
            names = ", ".join(asked) or "none"
            hint = f"did you mean {guess}?" if guess else f"it asks for {names}."
            raise UserError(f"{where}: roots.{name}: the study asks for no such folder, {hint}")
    for name, path in given.items():
        if not Path(path).exists():
            raise UserError(f"{where}: roots.{name}={path}: there is no such file or folder.")
    training = [*study.training, *_flat(study.budgets.values())] if study.rows else []
    texts = [*training, *_flat(study.tasks.values()),
             *_flat(overrides for _, overrides in study.rows.values())]  # fmt: skip
    needed = dict.fromkeys(name for text in texts for name in _ROOT.findall(text))
    if undeclared := [name for name in needed if name not in asked]:
        raise UserError(f"{where}: roots.{undeclared[0]} is used, but roots does not describe it.")
    if missing := [name for name in needed if name not in given]:
        told = ", ".join(f"{name} ({asked[name]})" for name in missing)
        example = ",".join(f"{name}:/path" for name in missing)
        raise UserError(
            f"{where}: where is {told}? Add roots={{{example}}}, or choose tasks=[…] or rows=[…] "
            "that do not need it."
        )
    left = {row: name for encoders in study.given.values() for row, checkpoint in encoders.items()
            for name in _ROOT.findall(checkpoint) if name not in given}  # fmt: skip
    kept = {task: {row: _ROOT.sub(lambda found: given[found[1]], checkpoint)
                   for row, checkpoint in encoders.items() if row not in left}
            for task, encoders in study.given.items()}  # fmt: skip
    notes = tuple(
        f"{row} is left out: roots.{name} is not set ({asked.get(name, 'its weights')})."
        for row, name in left.items()
    )

    def filled(overrides: Sequence[str]) -> tuple[str, ...]:
        return tuple(_filled(one, given) for one in overrides)

    return replace(
        study,
        training=filled(study.training),
        budgets={name: filled(one) for name, one in study.budgets.items()},
        tasks={name: filled(one) for name, one in study.tasks.items()},
        rows={name: (recipe, filled(one)) for name, (recipe, one) in study.rows.items()},
        given=kept,
        notes=(*study.notes, *notes),
    )


def _filled(override: str, roots: Mapping[str, str]) -> str:
    if not _ROOT.search(override):
        return override
    key, _, value = override.partition("=")
    parts = [
        as_text("", _ROOT.sub(lambda found: roots[found[1]], part))[1:]
        for part in value.strip("[]").split(",")
    ]
    return f"{key}=[{','.join(parts)}]" if value.startswith("[") else f"{key}={parts[0]}"


def _flat(lists: Iterable[Sequence[str]]) -> list[str]:
    return [one for each in lists for one in each]


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

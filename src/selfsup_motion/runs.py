"""The runs of this machine: `python -m selfsup_motion.runs` lists, compares, deletes, shows them.

Neither PyTorch nor Hydra's config is needed, so the answer comes at once.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from rich.table import Table

from selfsup_motion.apps.run_list import MOST_SHOWN, RunSummary, differences, find_runs, read_run
from selfsup_motion.errors import UserError
from selfsup_motion.settings.nearest import nearest_name
from selfsup_motion.settings.plain import help_text, read_options
from selfsup_motion.terminal.command_line import plain
from selfsup_motion.terminal.console import console

_MEANT = {
    "root": "folder", "runs": "folder", "task": "experiment", "status": "state", "order": "sort",
    "limit": "most", "remove": "delete", "rm": "delete", "diff": "compare", "force": "yes",
    "show": "open",
}  # fmt: skip
_LONGEST = 60
"""Characters of a setting that are shown."""


@dataclass(frozen=True)
class Options:
    """What the command line may say, see conf/hydra/help/runs.yaml."""

    folder: str = "outputs"
    experiment: str | None = None
    state: Literal["finished", "stopped", "running", "killed"] | None = None
    metric: str | None = None
    sort: Literal["time", "name", "experiment", "state", "steps", "metric", "size"] = "time"
    reverse: bool = False
    most: int = 50
    compare: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    yes: bool = False
    open: list[str] = field(default_factory=list)


def runs(options: Options) -> None:
    """Do what the options say.

    Raises:
        UserError: anything that the command's author can put right.
    """
    asked = [name for name in ("compare", "delete", "open") if getattr(options, name)]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} cannot be used together: leave one out.")
    if options.yes and not options.delete:
        raise UserError("yes=true goes with delete=<run>; leave it out.")
    if options.most < 1:
        raise UserError(f"most={options.most}: expected at least 1.")
    folder = Path(options.folder)
    if not folder.is_dir():
        raise UserError(f"folder={folder}: there is no such folder.")
    found = find_runs(folder, evaluations=True)
    if options.compare:
        _compare(options.compare, found, folder)
    elif options.delete:
        _delete(options.delete, found, folder, sure=options.yes)
    elif options.open:
        _open(options.open, found, folder)
    else:
        _list(options, found)


def _list(options: Options, found: dict[str, Path]) -> None:
    everything = [read_run(run, name) for name, run in found.items()]
    chosen = [run for run in everything if _is_wanted(run, options)]
    if not chosen:
        raise UserError(_nothing(options, everything))
    _sort(chosen, options)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("run", "experiment", "steps", "state", options.metric or "main metric", "when"):
        numeric = title == "steps"
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    table.add_column("MB", justify="right")
    for run in chosen[: options.most]:
        table.add_row(
            run.name, run.experiment, _steps(run), run.state, _metric(run, options.metric),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.time)), f"{run.size / 1e6:.1f}",
        )  # fmt: skip
    console.print(table, markup=False)
    total = sum(run.size for run in chosen) / 1e9
    left = len(chosen) - options.most
    more = f"; {left} more with most={len(chosen)}" if left > 0 else ""
    console.print(f"{_number(len(chosen))} below {options.folder}, {total:.2f} GB{more}")


def _is_wanted(run: RunSummary, options: Options) -> bool:
    if options.experiment and not fnmatchcase(run.experiment, options.experiment):
        return False
    if options.state and options.state not in run.state:
        return False
    return options.metric is None or options.metric in run.metrics


def _nothing(options: Options, everything: Sequence[RunSummary]) -> str:
    """Why no run is listed."""
    if not everything:
        return f"folder={options.folder}: there are no runs below it."
    for key, value, known in (
        ("experiment", options.experiment, {run.experiment for run in everything}),
        ("metric", options.metric, {name for run in everything for name in run.metrics}),
    ):
        if value is not None and not any(fnmatchcase(name, value) for name in known):
            guess = nearest_name(value, known)
            hint = f"did you mean {guess}?" if guess else f"there are {', '.join(sorted(known))}."
            return f"{key}={value}: no run below {options.folder} has it, {hint}"
    return (
        f"No run below {options.folder} is like that; it has {_number(len(everything))} in all: "
        "leave a filter out."
    )


def _sort(chosen: list[RunSummary], options: Options) -> None:
    """Numbers begin with the largest (so times with the newest), names with the first letter."""
    by_name = options.sort in ("name", "experiment", "state")

    def key(run: RunSummary) -> tuple[bool, float | str, str]:
        value = {
            "time": run.time,
            "size": float(run.size),
            "steps": run.steps,
            "metric": run.metrics.get(options.metric) if options.metric else run.value,
        }.get(options.sort)
        if by_name:
            return False, str(getattr(run, options.sort)), run.name
        down = options.reverse
        return value is None, (value if down else -value) if value is not None else 0.0, run.name

    chosen.sort(key=key, reverse=by_name and options.reverse)


def _compare(names: Sequence[str], found: dict[str, Path], folder: Path) -> None:
    if len(names) != 2:
        raise UserError(f"compare=[{','.join(names)}]: expected two runs, compare=[one,other].")
    chosen = _known(names, found, folder)
    if len(chosen) != 2:
        raise UserError(f"compare: both are {chosen[0]}; name two runs.")
    first, second = (read_run(found[name], name) for name in chosen)
    facts = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("", first.name, second.name):
        facts.add_column(title, overflow="fold")
    for title, told in (
        ("experiment", lambda run: run.experiment),
        ("state", lambda run: run.state),
        ("steps", _steps),
        ("main metric", _metric),
    ):
        facts.add_row(title, told(first), told(second))
    for name in sorted({*first.metrics, *second.metrics}):
        facts.add_row(name, *(_shown(run.metrics.get(name)) for run in (first, second)))
    console.print(facts, markup=False)
    rows = differences(first, second)
    if not rows:
        console.print("\nNo setting differs.")
        return
    settings = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("setting", first.name, second.name):
        settings.add_column(title, overflow="fold")
    for setting, a, b in rows:
        settings.add_row(setting, _shown(a), _shown(b))
    console.print()
    console.print(settings, markup=False)


def _delete(names: Sequence[str], found: dict[str, Path], folder: Path, *, sure: bool) -> None:
    from selfsup_motion.apps.run_removal import check_removable, remove_run

    chosen = _known(names, found, folder)
    for name in chosen:  # all of them, before anything is gone
        check_removable(found[name])
    told = [read_run(found[name], name) for name in chosen]
    size = sum(run.size for run in told) / 1e6
    what = f"{_number(len(told))}, {size:.1f} MB: {', '.join(run.name for run in told)}"
    if not sure:
        if not sys.stdin.isatty():
            raise UserError(f"Would delete {what}. Add yes=true to do so.")
        if input(f"Delete {what}? [y/N] ").strip().lower() not in ("y", "yes"):
            console.print("Nothing is deleted.")
            return
    for name in chosen:
        remove_run(found[name])
    console.print(f"Deleted {what}", markup=False)


def _open(names: Sequence[str], found: dict[str, Path], folder: Path) -> None:
    if len(names) > 2:
        raise UserError(f"open=[{','.join(names)}]: the studio shows one run or two side by side.")
    chosen = _known(names, found, folder)
    listed = find_runs(folder)
    for name in chosen:
        if name not in listed:
            raise UserError(f"open={name}: it has no checkpoint, the studio shows trainings.")
    if any(name not in list(listed)[:MOST_SHOWN] for name in chosen):
        # too old for the page's list of this folder
        paths = [found[name] for name in chosen]
        folder = Path(os.path.commonpath([path.parent for path in paths]))
        chosen = [path.relative_to(folder).as_posix() for path in paths]
    arguments = [f"runs={folder}", f"show=[{','.join(chosen)}]"]
    # as if it had been started itself
    os.execv(sys.executable, [sys.executable, "-m", "selfsup_motion.studio", *arguments])


def _known(names: Sequence[str], found: dict[str, Path], folder: Path) -> list[str]:
    """Runs by the names that the list tells, or by their paths.

    Raises:
        UserError: one of them is none.
    """
    places = {run.resolve(): name for name, run in found.items()}
    chosen = []
    for name in names:
        known = name if name in found else places.get(Path(name).resolve())
        if known is None:
            if (folder / name).is_dir() or Path(name).is_dir():
                raise UserError(f"{name}: not a run folder below {folder}.")
            guess = nearest_name(name, found)
            hint = f"did you mean {guess}?" if guess else "leave it out to see those there are."
            raise UserError(f"{name}: there is no such run below {folder}, {hint}")
        chosen.append(known)
    return list(dict.fromkeys(chosen))


def _steps(run: RunSummary) -> str:
    if run.steps is None:
        return ""
    return f"{run.steps} of {run.max_steps}" if run.max_steps else str(run.steps)


def _metric(run: RunSummary, name: str | None = None) -> str:
    if name is not None:
        return _shown(run.metrics.get(name))
    return "" if run.value is None else f"{run.monitor} {_shown(run.value)}"


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _number(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def main() -> None:
    """The command line entry."""
    plain(_run)


def _run() -> None:
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text("runs"))
    else:
        runs(read_options(Options, arguments, "folder", _MEANT))


if __name__ == "__main__":
    main()

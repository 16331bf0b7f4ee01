"""Many trainings and evaluations as one table: `python -m selfsup_motion.compare study=toy`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir, options
from selfsup_motion.settings.nearest import nearest_name
from selfsup_motion.terminal import command_line as cli

if TYPE_CHECKING:
    from selfsup_motion.apps.comparing.cells import Cell
    from selfsup_motion.apps.comparing.results import Table as ResultTable
    from selfsup_motion.apps.comparing.study import Study

_TYPES = {
    "study": str | None,
    "encoders": list[str],
    "tasks": list[str],
    "against": str | None,
    "seeds": list[int] | None,
    "budget": str | list[str] | None,
    "rows": list[str],
    "roots": Mapping[str, str] | None,
    "plan": bool,
    "jobs": int,
    "retry": bool,
    "overrides": list[str],
    "output": str | None,
}


def compare(cfg: DictConfig) -> None:
    """Run what is not finished of a study, and write its report.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right, or cells that failed: the
            report is written all the same.
    """
    from selfsup_motion.settings.check import check_config

    check_config(cfg, _TYPES)
    if cfg.jobs < 1:
        raise UserError(f"jobs={cfg.jobs}: expected at least 1.")
    if (cfg.study is None) == (not cfg.encoders):
        raise UserError(
            f"What is compared? Add study=<name> ({', '.join(options('studies'))}, or a file "
            "my.yaml), or encoders=[…] with tasks=[…]."
            if cfg.study is None
            else "study and encoders are both given: leave one of them out."
        )
    from selfsup_motion.apps.comparing.cells import cells_of

    study = _study(cfg) if cfg.study is not None else _of_encoders(cfg)
    folder = Path(cfg.output or f"outputs/compare/{study.name}")
    chains = cells_of(study, folder)
    if cfg.plan:
        _print_plan(study, chains, cfg.jobs)
        return

    from selfsup_motion.apps.comparing.report import write_report
    from selfsup_motion.apps.comparing.results import read_results, tables
    from selfsup_motion.apps.comparing.running import Runner
    from selfsup_motion.terminal.console import console
    from selfsup_motion.terminal.lock import FolderLock
    from selfsup_motion.terminal.output_folder import ending_on_sigterm

    def tell(line: str) -> None:
        console.print(line, markup=False)

    runner = Runner(folder, jobs=cfg.jobs, retry=cfg.retry, tell=tell, launcher=_launcher())
    lock = FolderLock()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.claim(folder, "comparing")
    except OSError as error:
        raise UserError(
            f"output={folder}: cannot be written ({error.strerror}), choose another place."
        ) from error
    except UserError as error:
        raise UserError(str(error).replace("paths.output_dir=", "output=", 1)) from error
    number = sum(map(len, chains))
    tell(f"{number} cells below {folder}; what is finished is not run again")
    for note in study.notes:
        tell(note)
    try:
        with ending_on_sigterm():
            outcome = runner.run(chains)
    except BaseException:
        results = read_results(chains)
        tell(f"{len(results)} of {number} cells are finished; run the same command to continue.")
        raise
    finally:
        results = read_results(chains)
        files = write_report(study, results, runner.outcome.failed, folder)
        lock.release()
    _print(tables(study, results))
    tell(f"report   {files[-3]}")
    if outcome.failed:
        first, reason = next(iter(outcome.failed.items()))
        left = f", {len(outcome.left)} could not begin" if outcome.left else ""
        raise UserError(
            f"{len(outcome.failed)} of {number} cells failed{left}; {first}: {reason} Add "
            "retry=true to try them again."
        )


def _launcher() -> dict[str, Any]:
    """Hydra's config of the launcher."""
    settings = OmegaConf.to_container(HydraConfig.get().launcher, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def _study(cfg: DictConfig) -> "Study":
    from selfsup_motion.apps.comparing.study import read_study

    if cfg.against:
        raise UserError("against: a study says that itself; it goes with encoders=[…].")
    return read_study(
        cfg.study,
        budget=cfg.budget if cfg.budget is None or isinstance(cfg.budget, str) else [*cfg.budget],
        seeds=None if cfg.seeds is None else list(cfg.seeds),
        rows=list(cfg.rows),
        tasks=list(cfg.tasks),
        roots={str(name): str(path) for name, path in (cfg.roots or {}).items()},
        overrides=list(cfg.overrides),
    )


def _of_encoders(cfg: DictConfig) -> "Study":
    """The study of encoders that exist already."""
    from selfsup_motion.apps.comparing.study import Study
    from selfsup_motion.weights.run_folders import checkpoint_file

    if not cfg.tasks:
        raise UserError(
            f"encoders: on which tasks? Add tasks=[…], of {', '.join(options('task'))}."
        )
    for key in ("budget", "rows", "roots"):
        if cfg[key]:
            raise UserError(f"{key}={cfg[key]}: it is of a study, leave it out with encoders=[…].")
    for task in cfg.tasks:
        if task not in options("task"):
            guess = nearest_name(task, options("task"))
            hint = f", did you mean {guess}?" if guess else "; see evaluate --help."
            raise UserError(f"tasks: there is no task {task}{hint}")
    if len(set(cfg.encoders)) < len(cfg.encoders):
        raise UserError("encoders: one of them is named twice; leave it out once.")
    given, fresh = {}, []
    for encoder in map(str, cfg.encoders):
        if encoder in options("encoder"):
            fresh.append(encoder)
            continue
        try:
            checkpoint_file(encoder)
        except UserError as error:
            raise UserError(f"encoders={error}") from error
        given[encoder] = encoder
    return Study(
        name="encoders",
        about="Encoders that exist already.",
        seeds=(0,) if cfg.seeds is None else tuple(cfg.seeds),
        tasks={task: (f"task={task}", *cfg.overrides) for task in cfg.tasks},
        references={task: tuple(fresh) for task in cfg.tasks},
        against={} if cfg.against is None else dict.fromkeys(cfg.tasks, cfg.against),
        given=dict.fromkeys(cfg.tasks, given),
    )


def _print_plan(study: "Study", chains: "Sequence[Sequence[Cell]]", jobs: int) -> None:
    """The cells and what they are expected to cost."""
    from rich.table import Table

    from selfsup_motion.apps.comparing.plan import plan, total
    from selfsup_motion.terminal.console import console

    lines = plan(study, chains)
    table = Table("", "", "cells", "finished", "steps", "CPU s each", "CPU s left", box=None,
                  header_style="bold", padding=(0, 3, 0, 0))  # fmt: skip
    for line in lines:
        each = "unknown" if line.seconds is None else f"{line.seconds:.0f}"
        table.add_row(
            line.row, line.task or "training", str(line.cells), str(line.finished),
            "" if line.steps is None else str(line.steps),
            each if line.is_measured or line.seconds is None else f"about {each}",
            "unknown" if line.left is None else f"{line.left:.0f}",
        )  # fmt: skip
    console.print(table)
    seconds, unknown = total(lines)
    cells = sum(line.cells for line in lines)
    finished = sum(line.finished for line in lines)
    told = f"{cells} cells, {finished} finished; about {seconds / 3600:.1f} CPU-hours are left"
    if unknown:
        told += f", and {unknown} cells of which none has been run: seeds=[0] measures them"
    console.print(f"{told}. With jobs={jobs}, {jobs} at a time.", markup=False)
    for note in study.notes:
        console.print(note, markup=False)


def _print(found: "Sequence[ResultTable]") -> None:
    """The closing tables."""
    from rich.table import Table

    from selfsup_motion.apps.comparing.report import cells_of_row
    from selfsup_motion.terminal.console import console

    for each in found:
        table = Table("", each.metric, "seeds", "difference", "95 %", box=None, header_style="bold",
                      title=each.title, title_justify="left", padding=(0, 3, 0, 0))  # fmt: skip
        for row in each.rows:
            table.add_row(*cells_of_row(row)[:5])
        console.print(table)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="compare")
def _main(cfg: DictConfig) -> None:
    cli.job(compare, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="compare")


if __name__ == "__main__":
    main()

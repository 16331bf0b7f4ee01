"""What a run tells at its start and at its end."""

import inspect
import json
import logging
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, ListConfig, OmegaConf
from pytorch_lightning.loggers import Logger, WandbLogger
from rich.table import Table
from torch import nn

import selfsup_motion
from selfsup_motion.callbacks.figures import Figures
from selfsup_motion.callbacks.guards import NonFinite
from selfsup_motion.callbacks.meter import Meter
from selfsup_motion.callbacks.untrained import untrained_metrics
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import report_of
from selfsup_motion.terminal.console import show
from selfsup_motion.training.run import Run

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "opencv-python-headless", "av")


def config_table(cfg: DictConfig) -> Table:
    """The composed settings, a line per group; keys that only repeat others are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    single = {name: cfg[name] for name in cfg if not isinstance(cfg[name], DictConfig)}
    table.add_row("run", _pairs(single))
    for group in map(str, cfg):
        if isinstance(cfg[group], DictConfig) and group not in ("logger", "paths"):
            values = _flat(cfg[group])
            if group == "trainer":  # most of its many keys are at Lightning's defaults
                usual = inspect.signature(pl.Trainer).parameters
                values = {
                    k: v for k, v in values.items() if k not in usual or v != usual[k].default
                }
            table.add_row(group, _pairs(values))
    table.add_row("logger", ", ".join(map(str, cfg.logger or {})))
    return table


def model_line(method: nn.Module) -> str:
    """`CMP 1.23 M parameters (encoder 0.90 M, decoder 0.33 M)`."""
    parts = [
        f"{n} {_millions(m)}"
        for n, m in method.named_children()
        if any(True for _ in m.parameters())
    ]
    inside = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    return f"{type(method).__name__} {_millions(method)} parameters{inside}"


def summarise(
    run: Run,
    trainer: pl.Trainer,
    meter: Meter,
    *,
    finished: bool,
    started: os.times_result,
    origin: Mapping[str, Any],
) -> None:
    """Write `summary.json`, unless that is another rank's.

    Times, rate and memory are of this session, which began at `started`; `origin` is told as it is.
    """
    if run.log_file is None:
        return
    now = os.times()
    last = run.folder / "checkpoints" / "last.ckpt"
    best = run.folder / "checkpoints" / "best.ckpt"
    config = run.config
    guards = [c for c in trainer.callbacks if isinstance(c, NonFinite)]  # type: ignore[attr-defined]
    summary = {
        "experiment": config["experiment"],
        **origin,
        "method": config["method"]["_target_"],
        "finished": finished,
        "steps": trainer.global_step,
        "metrics": finite({k: float(v) for k, v in sorted(trainer.callback_metrics.items())}),
        "untrained": untrained_metrics(trainer),
        "samples_per_second": _number(meter.samples_per_second),
        "data_wait_share": meter.data_wait_share(trainer),
        "devices": trainer.world_size,
        "device": trainer.strategy.root_device.type,
        "wall_seconds": now.elapsed - started.elapsed,
        # this process and its finished children, user and system time
        "cpu_seconds": sum(now[:4]) - sum(started[:4]),
        "peak_memory_mb": meter.peak_memory_mb,
        "skipped_files": len(meter.bad_files),
        "skipped_reasons": meter.skipped_reasons,
        "validation_left_out": _left_out(trainer),
        "skipped_steps": sum(c.skipped_steps for c in guards),
        "seed": config["seed"],
        "restarts": run.restarts,
        "resumed_from_step": run.resume_step,
        "checkpoint": str(last.relative_to(run.folder)) if last.exists() else None,
        "best_checkpoint": str(best.relative_to(run.folder)) if best.exists() else None,
        "versions": {
            "selfsup_motion": selfsup_motion.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "git_revision": git_revision(),
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    temporary = run.folder / ".summary.json.tmp"
    try:
        temporary.write_text(text)
        temporary.replace(run.folder / "summary.json")
    except OSError as error:
        # on a full disk the run has ended for that reason, which is what should be told
        log.warning("%s/summary.json: cannot be written (%s).", run.folder, error.strerror)


def opening(run: Run, settings: Table, method: pl.LightningModule, steps: str) -> None:
    """Print the settings, the model's size, the run folder and what is resumed.

    Args:
        run: the session.
        settings: see `config_table`.
        method: the method.
        steps: a line about batch and learning rate.
    """
    if run.log_file is None:
        return
    if run.config["print_config"]:
        show(settings, run.log_file)
    show(f"{model_line(method)}\n{steps}\nWriting to {run.folder}", run.log_file)
    run.log_notes()


def closing(run: Run, trainer: pl.Trainer, method: pl.LightningModule) -> None:
    """Print the method's table and where everything is."""
    if run.log_file is None:
        return
    drawn = [c.written for c in trainer.callbacks if isinstance(c, Figures)]  # type: ignore[attr-defined]
    figures = [path for paths in drawn for path in paths]
    metrics = finite({name: float(value) for name, value in trainer.callback_metrics.items()})
    for name, value in untrained_metrics(trainer).items():
        metrics[f"untrained/{name.removeprefix('val/')}"] = value
    table = _table(method, metrics)
    places = Table.grid(padding=(0, 2))
    for path in figures:
        places.add_row("figure", str(path))
    for name, file in (
        ("best", "checkpoints/best.ckpt"),
        ("last", "checkpoints/last.ckpt"),
        ("summary", "summary.json"),
    ):
        if (run.folder / file).exists():
            places.add_row(name, str(run.folder / file))
    parts: list[Any] = [table, "", places]
    if left_out := _left_out(trainer):
        clips = "1 clip" if left_out == 1 else f"{left_out} clips"
        parts.insert(1, f"without {clips} that could not be read, see {run.folder}/bad_files.csv")
    for part in parts:
        show(part, run.log_file)


def _table(method: pl.LightningModule, metrics: dict[str, float]) -> Table | str:
    """The method's closing table, or why there is none."""
    if not any(name.startswith("val/") for name in metrics):
        return "There was no validation, so there is nothing to compare."
    try:
        names, rows = report_of(method, metrics)
    except KeyError as error:
        return f"No table: the validation did not measure {error.args[0]}."
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0))
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def metric(trainer: pl.Trainer, name: str | None, *, validated: bool) -> float | None:
    """The value that a sweeper gets back; None without a validation, which would have told it.

    Raises:
        UserError: the run has logged no metric of that name.
    """
    if name is None:
        return None
    if name not in trainer.callback_metrics:
        if not validated:
            return None
        known = ", ".join(sorted(trainer.callback_metrics))
        raise UserError(f"optimized_metric={name}: not logged, there are {known}.")
    return float(trainer.callback_metrics[name])


def end_loggers(loggers: list[Logger], run: Run, *, finished: bool) -> None:
    """Tell wandb where the checkpoints are; close what a next run in the same process would
    inherit."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        if wandb.run is not None:
            for name in ("best", "last"):
                file = run.folder.absolute() / "checkpoints" / f"{name}.ckpt"
                if file.exists():
                    wandb.run.summary[f"checkpoint/{name}"] = str(file)
        wandb.finish(exit_code=0 if finished else 1)


def git_revision() -> str | None:
    """Commit of the checkout that this package is imported from, `+` if it has changes."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        # a wheel in a virtual environment below some other project is not part of that project
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, check=True, capture_output=True)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _left_out(trainer: pl.Trainer) -> int:
    """Clips that the last validation could not read."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return data.val_left_out if isinstance(data, ClipDataModule) else 0


def _flat(node: DictConfig, prefix: str = "") -> dict[str, Any]:
    """Keys that are set here: no nulls, no references to other keys, no nested recipes' targets."""
    values: dict[str, Any] = {}
    for name in map(str, node):
        raw = node._get_node(name)
        reference = raw is None or raw._is_interpolation()
        if name == "_target_" and not prefix:
            values[""] = str(node[name]).rpartition(".")[2]
        elif reference or name[0] == "_" or name in ("module", "sequences") or node[name] is None:
            continue
        elif isinstance(node[name], DictConfig):
            inside = _flat(node[name], f"{prefix}{name}.")
            values |= inside if len(inside) <= 4 else {f"{prefix}{name}": "..."}
        else:
            values[f"{prefix}{name}"] = node[name]
    return values


def _pairs(values: dict[Any, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, ListConfig):
            return str(OmegaConf.to_container(value, resolve=True)).replace("'", "")
        return str(value).lower() if isinstance(value, bool) else str(value)

    shown = {k: text(v) for k, v in values.items() if v is not None}
    return "  ".join(f"{k}={v}" if k else v for k, v in shown.items())


def _millions(module: nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that have a value: a mean over nothing has none."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

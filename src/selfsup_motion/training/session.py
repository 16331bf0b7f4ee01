"""One session of training: from a config to `summary.json`.

`train` runs it for a method, `evaluate` for a task that trains.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from selfsup_motion.callbacks.checkpointing import Provenance
from selfsup_motion.callbacks.meter import Meter
from selfsup_motion.callbacks.seeding import SeedEveryBatch
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.errors import BadFilesError, UserError
from selfsup_motion.settings import learning_rate
from selfsup_motion.settings.build import build, build_all
from selfsup_motion.terminal import command_line as cli
from selfsup_motion.terminal.console import console, logging_to, quieten
from selfsup_motion.terminal.ranks import lost_peer
from selfsup_motion.training import report
from selfsup_motion.training.compiling import check_compiler, compiled
from selfsup_motion.training.launch import check_devices, one_job, shares
from selfsup_motion.training.lengths import explained, has_no_validation
from selfsup_motion.training.processes import WatchRanks, end_children, plugins, wait_for_watch
from selfsup_motion.training.run import plan
from selfsup_motion.training.signals import REQUEUE, StopOnSignal, requeue, stoppable


def session(
    cfg: DictConfig,
    sources: Mapping[str, Any],
    *,
    command: str = "train",
    parts: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> float | None:
    """Train `cfg.method` on `cfg.data.module`.

    Args:
        cfg: the composed and checked config, not resolved.
        sources: arguments of `cfg.data.module` that are built already.
        command: of this package, for the command line that resumes the run.
        parts: arguments of the method's constructor that are no plain values.
        origin: plain values that `summary.json` tells besides.

    Returns:
        The metric named by `optimized_metric`, for sweepers.

    Raises:
        UserError: anything that the config's author can put right.
        Interrupted: a signal ended the run.
    """
    started = os.times()
    quieten()
    check_devices(cfg.trainer)
    if cfg.compile:
        check_compiler(cfg.trainer)
    run = plan(cfg, command)
    if run.finished:
        console.print(run.finished_text(), markup=False)
        return None

    settings = report.config_table(cfg)  # building resolves the references in cfg
    cfg, rate = learning_rate.scale(cfg)
    pl.seed_everything(cfg.seed, verbose=False)
    datamodule = build(cfg.data.module, "data", **sources)
    method = build(cfg.method, "method", **(parts or {}))
    meter = Meter()

    def forget() -> None:
        """Leave nothing behind of a session in which nothing was done."""
        if run.has_done_nothing(trainer.global_step):
            run.discard()

    callbacks = [
        SeedEveryBatch(cfg.seed),
        Provenance(run.provenance()),
        WatchRanks(forget),
        *build_all(cfg.callbacks, "callbacks"),
        StopOnSignal(),  # behind the others, whose state of this step it saves
        meter,
    ]
    trainer = build(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        plugins=plugins(),
        logger=False,  # they write files, see below
        default_root_dir=str(run.folder),
        enable_model_summary=False,  # the report has a line about the model
    )
    steps = "; ".join(part for part in (shares(trainer, cfg.data.batch_size), rate) if part)
    run.check_fits(method)

    def give_up() -> str:
        end_children(trainer)
        words = run.unsaved_text()
        forget()
        return words

    finished = idle = False
    try:
        with stoppable(cfg.stop_within, give_up), one_job(run.decision):
            run.open()  # from here on files are written, all of them below run.folder
            if isinstance(datamodule, ClipDataModule):
                datamodule.list_bad_files(run.folder / "bad_files.csv")
            with logging_to(run.log_file):
                report.opening(run, settings, method, steps)
                paths = {"folder": str(run.folder), "resume_step": run.resume_step}
                trainer.loggers = build_all(cfg.logger, "logger", **paths)
                for logger in trainer.loggers:
                    logger.log_hyperparams(run.config)
                with compiled(method) if cfg.compile else contextlib.nullcontext():
                    _fit(trainer, method, datamodule, run.checkpoint, cfg.trainer)
                if run.has_done_nothing(trainer.global_step):
                    raise UserError(
                        "Training ended before its first step: trainer.max_time, max_epochs or "
                        "limit_train_batches does not allow one."
                    )
                finished = True
    except BaseException as error:
        idle = run.has_done_nothing(trainer.global_step)
        if isinstance(error, BadFilesError):
            idle &= run.continues  # a list of the bad files is worth keeping
        if isinstance(error, cli.Interrupted) and error.saved:
            error.message = run.saved_text(trainer.global_step)
            if error.signum == REQUEUE and run.log_file is not None:
                error.message += f"\n{requeue()}"
        if lost_peer(error):
            wait_for_watch(trainer)
        raise
    finally:
        if run.is_open and not idle:
            report.summarise(
                run, trainer, meter, finished=finished, started=started, origin=origin or {}
            )
        report.end_loggers(trainer.loggers, run, finished=finished)
        end_children(trainer, seconds=120 if finished else 2)
        if idle:
            run.discard()
        run.close()
    report.closing(run, trainer, method)
    return report.metric(
        trainer, cfg.optimized_metric, validated=not has_no_validation(cfg.trainer)
    )


def _fit(
    trainer: pl.Trainer,
    method: pl.LightningModule,
    data: pl.LightningDataModule,
    checkpoint: Path | None,
    settings: DictConfig,
) -> None:
    """Train.

    Raises:
        UserError: Lightning finds that its settings do not go together.
    """
    try:
        trainer.fit(method, data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise UserError(explained(str(error), settings)) from error

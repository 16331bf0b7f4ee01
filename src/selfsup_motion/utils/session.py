"""One session of training: from a config to `summary.json`.

`train` runs it for a method, `evaluate` for a task that trains.
"""

import os
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.errors import BadFilesError, UserError
from selfsup_motion.utils import cli, learning_rate, report
from selfsup_motion.utils.build import build, build_all
from selfsup_motion.utils.check import TOP_LEVEL, check_config
from selfsup_motion.utils.checkpointing import Provenance
from selfsup_motion.utils.console import console, logging_to, quieten
from selfsup_motion.utils.launch import check_devices, compiled, one_job, shares
from selfsup_motion.utils.meter import Meter
from selfsup_motion.utils.ranks import WatchRanks, await_death, end_children, lost_peer, plugins
from selfsup_motion.utils.run import plan
from selfsup_motion.utils.seeding import SeedEveryBatch
from selfsup_motion.utils.signals import REQUEUE, StopOnSignal, requeue, stoppable


def session(
    cfg: DictConfig,
    *,
    command: str = "train",
    top_level: Mapping[str, Any] = TOP_LEVEL,
    parts: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> float | None:
    """Train `cfg.method` on `cfg.data.module`.

    Args:
        cfg: the composed config, not resolved.
        command: of this package, for the command line that goes on with the run.
        top_level: see `check_config`.
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
    check_config(cfg, top_level)
    check_devices(cfg.trainer)
    run = plan(cfg, command)
    if run.finished:
        console.print(run.finished_text(), markup=False)
        return None

    settings = report.config_table(cfg)  # building resolves the references in cfg
    cfg, rate = learning_rate.scale(cfg)
    pl.seed_everything(cfg.seed, verbose=False)
    datamodule = build(cfg.data.module, "data")
    method = build(cfg.method, "method", **(parts or {}))
    meter = Meter()
    callbacks = [
        SeedEveryBatch(cfg.seed),
        Provenance(run.provenance()),
        WatchRanks(),
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
        return run.last_words()

    run.open()  # from here on files are written, all of them below run.folder
    if isinstance(datamodule, ClipDataModule):
        datamodule.list_bad_files(run.folder / "bad_files.csv")
    finished = False
    try:
        with (
            logging_to(run.log_file),
            stoppable(cfg.stop_within, give_up),
            one_job(run.decision),
        ):
            report.opening(run, settings, method, steps)
            paths = {"folder": str(run.folder), "resume_step": run.resume_step}
            trainer.loggers = build_all(cfg.logger, "logger", **paths)
            for logger in trainer.loggers:
                logger.log_hyperparams(run.config)
            model = compiled(method) if cfg.compile else method
            trainer.fit(model, datamodule, ckpt_path=run.checkpoint, weights_only=True)
            finished = True
    except (UserError, cli.Interrupted) as error:
        if trainer.global_step == 0 and not isinstance(error, BadFilesError):
            run.discard()
        if isinstance(error, cli.Interrupted) and error.saved:
            error.message = run.goodbye(trainer.global_step)
            if error.signum == REQUEUE and run.log_file is not None:
                error.message += f"\n{requeue()}"
        raise
    except RuntimeError as error:
        if lost_peer(error):
            await_death(trainer)
        raise
    finally:
        report.summarise(
            run, trainer, meter, finished=finished, started=started, origin=origin or {}
        )
        report.end_loggers(trainer.loggers, run, finished=finished)
        end_children(trainer, seconds=10 if finished else 2)
        run.close()
    report.closing(run, trainer, method)
    return report.metric(trainer, cfg.optimized_metric)

"""Devices, and what several processes need to know about the command line."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import split
from selfsup_motion.terminal.ranks import DECISION

_RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def check_devices(trainer: DictConfig) -> None:
    """Make sure that the devices that the config asks for exist and can do what it wants.

    Raises:
        UserError: no CUDA device, or a strategy that this program or the device cannot do.
    """
    strategy = str(trainer.get("strategy"))
    if "spawn" in strategy or "fork" in strategy or "notebook" in strategy:
        raise UserError(
            f"trainer.strategy={strategy}: weights that such processes learn are not returned to "
            "this one, use trainer.strategy=ddp."
        )
    if trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={trainer.accelerator}: PyTorch {torch.__version__} finds no CUDA "
            "device here (see nvidia-smi); use trainer=cpu."
        )
    on_cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.is_available()
    if on_cpu and strategy.startswith("fsdp"):
        raise UserError(
            f"trainer.strategy={strategy} shards a model over GPUs and PyTorch "
            f"{torch.__version__} finds none here: use trainer.strategy=ddp."
        )
    if on_cpu and trainer.get("sync_batchnorm"):
        raise UserError(
            "trainer.sync_batchnorm=true: PyTorch can do it on GPUs only, add "
            "trainer.sync_batchnorm=false."
        )


def shares(trainer: pl.Trainer, batch_size: int) -> str:
    """How the samples of a step are divided, in a reader's words.

    Args:
        trainer: knows the devices.
        batch_size: samples of an optimiser step.

    Raises:
        UserError: there are none, or they cannot be divided equally.
    """
    if batch_size < 1:
        raise UserError(f"data.batch_size={batch_size}: expected 1 or more samples of a step.")
    devices = trainer.num_devices * trainer.num_nodes
    accumulated = trainer.accumulate_grad_batches
    parts = devices * accumulated
    if batch_size % parts:
        factors = [f"{devices} devices"] if devices > 1 else []
        factors += [f"trainer.accumulate_grad_batches={accumulated}"] if accumulated > 1 else []
        raise UserError(
            f"data.batch_size={batch_size} counts the samples of a step over all devices and "
            f"accumulated batches, and {' times '.join(factors)} do not divide it: choose a "
            f"multiple of {parts}."
        )
    text = f"{batch_size} samples a step"
    if parts > 1:
        factors = [f"{devices} devices"] if devices > 1 else []
        factors += [f"{accumulated} accumulated batches"] if accumulated > 1 else []
        text += f" = {' × '.join(factors)} × {batch_size // parts}"
    return text


@contextlib.contextmanager
def one_job(decision: dict[str, Any]) -> Iterator[None]:
    """Let Lightning start its other ranks with the command line of this job alone.

    In a multirun they would each run the whole sweep. Afterwards the environment is as before, or
    the sweep's next job would take itself for a rank of this one.

    Args:
        decision: what these ranks need to know of this one's plan, as plain data.
    """
    arguments = list(sys.argv)
    environment = {name: os.environ.get(name) for name in (*_RANK_VARIABLES, DECISION)}
    os.environ[DECISION] = json.dumps(decision)
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        kept = [flag for flag in split(sys.argv[1:])[0] if flag != "--multirun"]
        sys.argv = [sys.argv[0], *kept, *hydra_config.overrides.task, "hydra.mode=RUN"]
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Lightning leaves it to the end of the process, the sweep's next job would inherit it
            torch.distributed.destroy_process_group()
        sys.argv = arguments
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Devices, and what several processes need to know about the command line."""

import contextlib
import os
import sys
from collections.abc import Iterator

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from selfsup_motion.errors import UserError

_RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def check_devices(trainer: DictConfig) -> None:
    """Make sure that the accelerator that the config asks for exists.

    Raises:
        UserError: no CUDA device.
    """
    if trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={trainer.accelerator}: PyTorch {torch.__version__} finds no CUDA "
            "device here (see nvidia-smi); use trainer=cpu."
        )


@contextlib.contextmanager
def one_job() -> Iterator[None]:
    """Let Lightning start its other ranks with the command line of this job alone.

    In a multirun they would each run the whole sweep. Afterwards the environment is as before, or
    the sweep's next job would take itself for a rank of this one.
    """
    arguments = list(sys.argv)
    environment = {name: os.environ.get(name) for name in _RANK_VARIABLES}
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        kept = [a for a in _flags(sys.argv[1:]) if a not in ("-m", "--multirun")]
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


def _flags(arguments: list[str]) -> list[str]:
    """The flags of a command line with their values, without the overrides."""
    with_value = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
    return [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if argument.startswith("-") or before in with_value
    ]

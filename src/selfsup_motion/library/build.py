"""A method and its data from the settings of a command line, for a trainer of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from selfsup_motion.apps.preflight import check_module, open_sources
from selfsup_motion.errors import UserError
from selfsup_motion.library.configs import composed
from selfsup_motion.settings import learning_rate
from selfsup_motion.settings.build import build as made
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.groups import option_list
from selfsup_motion.settings.unused import check_used
from selfsup_motion.weights.origin import sign

_USED = ("experiment", "seed", "lr_scaling", "method", "data.module", "data.batch_size")
_OF_A_RUN = (
    "trainer", "callbacks", "logger", "monitor", "monitor_mode", "optimized_metric", "compile",
    "stop_within", "paths", "print_config", "resume",
)  # fmt: skip
_WHY = "leaves the trainer and what belongs to it to you"


def build(
    *overrides: str, config_dir: str | Path | None = None
) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    """A method and its data, as `python -m selfsup_motion.train` would train them.

    Train them with any `pl.Trainer`. The checkpoints that it writes hold the method's config, so
    `load_method` and `load_encoder` read them.

        method, data = build("experiment=cmp", "data.batch_size=8")
        pl.Trainer(max_steps=700).fit(method, data)

    Args:
        overrides: `experiment=…` and other settings, as they are typed behind the command.
            Settings of trainer, callbacks, loggers and folders are refused: they are the caller's.
        config_dir: a folder with config groups of one's own, as `--config-dir`.

    Returns:
        The method with the weights that `train` would begin with, in training mode, and the data
        module.

    Raises:
        UserError: a setting that is misspelt, of the wrong type or not used, data that are not
            there.
    """
    with composed("train", overrides, config_dir) as cfg:
        if not cfg.experiment:
            raise UserError(f"Which experiment? Add one of these:\n{option_list('experiment')}")
        check_module(cfg, "train")
        if debug := HydraConfig.get().runtime.choices.get("debug"):
            raise UserError(f"debug={debug}: build {_WHY}, leave it out.")
        check_used(cfg, _USED, "build", why=_WHY)
        check_config(cfg)
        sources = open_sources(cfg, "data.module", ("source", "val_source"))
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        cfg, _ = learning_rate.scale(cfg)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.seed)
            data: pl.LightningDataModule = made(cfg.data.module, "data", **sources)
            method: pl.LightningModule = made(cfg.method, "method")
    # a plain trainer has no use for the rest, so what a checkpoint says of it would be wrong
    sign(method, {name: value for name, value in config.items() if name not in _OF_A_RUN})
    return method, data

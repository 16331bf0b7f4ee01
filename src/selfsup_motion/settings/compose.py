"""Composes a config without running anything."""

from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_node, check_root
from selfsup_motion.settings.groups import config_dir


def compose(overrides: Sequence[str] = (), *, config_name: str = "train") -> DictConfig:
    """The config that the command line `overrides` would run with (not resolved, struct mode on).

    Raises:
        hydra.errors.HydraException: an override that cannot be applied.
    """
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = hydra.compose(config_name, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def _steps(passes: float, items: int, batch_size: int) -> int:
    """Optimiser steps that show `items` so often."""
    return max(1, round(passes * items / batch_size))


def _classes(part: DictConfig) -> list[str]:
    """Names of the classes of a part of a data set, which its lists or folders tell."""
    return list(_built(part).classes)


def _size(part: DictConfig) -> int:
    """Number of videos of a part of a data set."""
    return len(_built(part))


def _built(part: DictConfig) -> Any:
    root, path = part._get_root(), str(part._get_full_key(None))
    if isinstance(root, DictConfig):  # the program has not come to its own checks
        check_node(root, part, path)
        check_root(root, path)
    return build(part, "data")


# `${steps:<passes>,<items>,<batch size>}`; needed wherever a config is resolved
OmegaConf.register_new_resolver("steps", _steps, replace=True)


# `${classes:${data.actions.train}}` and `${size:${data.actions.train}}`
OmegaConf.register_new_resolver("classes", _classes, replace=True, use_cache=True)


OmegaConf.register_new_resolver("size", _size, replace=True, use_cache=True)

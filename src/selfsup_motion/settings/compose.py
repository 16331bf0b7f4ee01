"""Composes a config without running anything."""

from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from selfsup_motion.settings.completion import completing
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.resolvers import register_resolvers


def compose(overrides: Sequence[str] = (), *, config_name: str = "train") -> DictConfig:
    """The config that the command line `overrides` would run with (not resolved, struct mode on).

    Raises:
        hydra.errors.HydraException: an override that cannot be applied.
    """
    register_resolvers()
    GlobalHydra.instance().clear()
    with completing(), hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = hydra.compose(config_name, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg

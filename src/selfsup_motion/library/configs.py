"""Configs that a program composes, with the sentences of the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion.errors import UserError
from selfsup_motion.settings import groups
from selfsup_motion.settings.arguments import folders, readable
from selfsup_motion.settings.check import check_node
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.diagnose import explain


@contextlib.contextmanager
def composed(
    config_name: str, overrides: Sequence[str], config_dir: str | Path | None = None
) -> Iterator[DictConfig]:
    """The config of a command line, as long as the context lasts.

    Behind it Hydra is as it was: the program may be a Hydra application itself.

    Args:
        config_name: of the command.
        overrides: as they are typed behind the command, without flags.
        config_dir: a folder with config groups of the caller's own.

    Raises:
        UserError: an override that cannot be read or applied, a folder that is not there.
    """
    application, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    former = groups.own_folders()
    try:
        yield _composed(config_name, overrides, config_dir)
    finally:
        GlobalHydra.instance().hydra = application
        HydraConfig.instance().cfg = config
        groups.use_folders(former)


def _composed(
    config_name: str, overrides: Sequence[str], config_dir: str | Path | None
) -> DictConfig:
    if flags := [text for text in overrides if text.startswith("-")]:
        raise UserError(f"{flags[0]}: flags are for the command line; settings are key=value.")
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"config_dir={config_dir}: there is no such folder.")
    flags = [] if config_dir is None else [f"--config-dir={config_dir}"]
    own = folders(flags)
    groups.use_folders(own)
    search = [f"hydra.searchpath=[{','.join(map(str, own))}]"] if own else []
    arguments = readable([*search, *overrides], "experiment")
    try:
        return compose(arguments, config_name=config_name)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, [*flags, *arguments[len(search) :]], config_name)) from error


def chosen(group: str, name: str, settings: Mapping[str, Any]) -> DictConfig:
    """The node of an option of a config group.

    Args:
        group: of `evaluate`.
        name: of the option.
        settings: arguments of its constructor, instead of those in the file.

    Raises:
        UserError: there is no such option or argument, or a value does not fit.
    """
    with composed("evaluate", [f"{group}={name}"]) as cfg:
        own = cfg[group]
        given = {key: own[key] for key in own if not OmegaConf.is_missing(own, key)}
        node = OmegaConf.create({**given, **settings})
        check_node(cfg, node, group)
    return node

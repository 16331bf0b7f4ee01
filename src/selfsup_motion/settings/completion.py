"""Arguments that no YAML file names: the config gets them from the constructors' own defaults.

So a default stands in one place, the constructor, and YAML says what is chosen otherwise. All the
same a composed config holds every argument of our classes: `--cfg job` prints it, `key=value` sets
it, and a checkpoint keeps it.
"""

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig, ListConfig, Node, flag_override

from selfsup_motion.errors import UserError
from selfsup_motion.settings.config_files import RememberingRepository
from selfsup_motion.settings.signatures import signature

_OURS = "selfsup_motion."


class CompletingLoader(ConfigLoaderImpl):
    """Hydra's loader of configs, with the defaults filled in before the command line is applied."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = RememberingRepository(config_search_path)

    def _compose_config_from_defaults_list(self, *args: Any, **kwargs: Any) -> DictConfig:
        cfg: DictConfig = super()._compose_config_from_defaults_list(*args, **kwargs)
        complete(cfg)
        return cfg


@contextlib.contextmanager
def completing() -> Iterator[None]:
    """Configs that are composed inside are complete."""
    # Hydra 1.3 has no place for another loader
    application: Any = import_module("hydra._internal.hydra")
    former = application.ConfigLoaderImpl
    application.ConfigLoaderImpl = CompletingLoader
    try:
        yield
    finally:
        application.ConfigLoaderImpl = former


def complete(node: Any) -> None:
    """Add to every node that names a class or function of ours the defaults of the arguments that
    it does not list; in place."""
    if isinstance(node, (DictConfig, ListConfig)):
        if node._is_none() or node._is_missing() or node._is_interpolation():
            return
        if isinstance(node, DictConfig):
            _complete(node)
            inner: list[Any] = [node._get_node(name) for name in node if name != "hydra"]
        else:
            inner = [node._get_node(index) for index in range(len(node))]
        for each in inner:
            complete(each)


def _complete(node: DictConfig) -> None:
    target = node._get_node("_target_", validate_access=False)
    name = target._value() if isinstance(target, Node) else None
    if not isinstance(name, str) or not name.startswith(_OURS):
        return
    try:
        defaults = signature(name).defaults()
    except UserError:  # a name that is not there: the config is checked later
        return
    with flag_override(node, ["struct", "readonly"], False):
        for argument, value in defaults.items():
            if node._get_node(argument, validate_access=False) is None:
                node[argument] = value

"""Instantiates nodes of the config; a constructor's refusal becomes a user's error."""

import sys
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from selfsup_motion.errors import UserError
from selfsup_motion.settings.locating import missing


def build(node: DictConfig, key: str, **kwargs: Any) -> Any:
    """The object that a config node describes.

    Args:
        node: config with a `_target_`.
        key: where the node is in the config, for the message.
        kwargs: arguments that are not in the config.

    Raises:
        UserError: the constructor refuses its arguments.
    """
    try:
        # plain lists and dicts: what ends in a checkpoint must load without OmegaConf
        return instantiate(node, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if (module := _not_installed(error)) is not None:
            raise UserError(f"{key}: {missing(module)}") from error
        if (lacking := _lacks(cause)) is not None:
            raise UserError(f"{key}: {lacking}") from error
        # imports PyTorch, for which what a user has made wrong above does not wait
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        if isinstance(cause, (ValueError, MisconfigurationException)):
            raise UserError(f"{key}: {cause}") from error
        raise


def _not_installed(error: BaseException | None) -> ModuleNotFoundError | None:
    """The import behind an error that found no module."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return error


def _lacks(cause: BaseException | None) -> str | None:
    """What is wrong with a network of somebody's own that a method cannot be built around."""
    if not isinstance(cause, AttributeError) or "torch" not in sys.modules:
        return None
    from torch import nn

    network, name = cause.obj, cause.name
    own = not type(network).__module__.startswith(("selfsup_motion.", "torch"))
    if not isinstance(network, nn.Module) or not own:
        return None
    return (
        f"{type(network).__name__} has no {name}. An encoder says its out_channels, input_mean and "
        "input_std, as those in selfsup_motion.models do."
    )


def build_all(nodes: DictConfig | None, key: str, **kwargs: Any) -> list[Any]:
    """The objects of a node of nodes, in its order; an entry that is null is left out."""
    items = nodes.items() if nodes else ()
    return [build(node, f"{key}.{name!s}", **kwargs) for name, node in items if node]

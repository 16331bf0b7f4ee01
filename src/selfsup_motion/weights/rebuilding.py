"""Building what the config in a checkpoint describes, without calling anything else.

A checkpoint may come from anywhere, so a class that it names is called only if it is one of ours,
a plain part of PyTorch, or in a package that the user trusts. References (`${…}`) are not followed,
and the object that was looked at is the object that is called.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.settings.locating import locate
from selfsup_motion.settings.moved import current_target
from selfsup_motion.settings.trust import Trust, advice, is_below, packages

_PACKAGES = tuple(f"selfsup_motion.{name}" for name in ("ops", "models", "data", "methods"))
_TASKS = "selfsup_motion.tasks"
_BASES = {
    "torch.optim": (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler),
    "torch.nn.modules": (nn.Module,),
}
"""Packages of which only classes with one of these bases may be called; of `_TASKS` it is a
LightningModule."""
_KNOWN = (*_PACKAGES, _TASKS, "torch.optim", "torch.nn")

_TARGET, _ARGS = "_target_", "_args_"
_OF_HYDRA = {_TARGET, "_partial_", "_recursive_", "_convert_"}


def rebuild(config: Any, path: Path, trust: Trust = (), **parts: Any) -> Any:
    """The object that a node of a checkpoint's config describes.

    Args:
        config: plain values; nodes with `_target_` in it are built as Hydra does, and so are
            `_partial_`, `_args_` and `_recursive_`.
        path: of the checkpoint, for messages.
        trust: packages of the user's own that it may call.
        parts: further arguments of the outermost object.

    Raises:
        CheckpointError: it would call something else, or a constructor refuses its arguments.
        UserError: what a constructor raises, or a wrong `trust`.
    """
    trusted = packages(trust)
    check_calls(config, path, trusted)
    return _made(config, path, trusted, **parts)


def check_calls(config: Any, path: Path, trusted: Sequence[str]) -> None:
    """Make sure that a config calls nothing but what it may, see `rebuild`.

    Raises:
        CheckpointError: it does.
    """
    if isinstance(config, dict):
        if _TARGET in config:
            target(config[_TARGET], path, trusted)
        for value in config.values():
            check_calls(value, path, trusted)
    elif isinstance(config, (list, tuple)):
        for item in config:
            check_calls(item, path, trusted)


def target(name: Any, path: Path, trusted: Sequence[str]) -> Callable[..., Any]:
    """The class or function that a `_target_` of a checkpoint names.

    Raises:
        CheckpointError: it may not be called, or is not there.
    """
    name = current_target(str(name))
    if not is_below(name, (*_KNOWN, *trusted)):
        raise CheckpointError(
            f"{path}: its config wants to call {name}, which is refused, since a checkpoint may "
            f"come from anywhere.{advice(name, trusted)}"
        )
    try:
        found = locate(name)
    except UserError as error:
        raise CheckpointError(f"{path}: {error}") from error
    # a dotted path can lead through a module to somebody else's function: my_package.os.system
    home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    if not _may_be_called(found, home, trusted):
        known = "" if home in (name, "None.") else f" (that is {home})"
        raise CheckpointError(
            f"{path}: its config wants to call {name}{known}, which is refused."
            f"{advice(home, trusted) if not is_below(home, trusted) else ''}"
        )
    return found  # type: ignore[no-any-return]


def is_lightning_module(kind: type) -> bool:
    """Whether a class is a LightningModule. Lightning, slow to import, is not imported for it."""
    lightning = sys.modules.get("pytorch_lightning")  # there, if it is the base of a class
    return lightning is not None and issubclass(kind, lightning.LightningModule)


def _may_be_called(found: Any, home: str, trusted: Sequence[str]) -> bool:
    if inspect.isclass(found):
        for package, bases in _BASES.items():
            if is_below(home, [package]) and issubclass(found, bases):
                return True
        if is_below(home, [_TASKS]) and is_lightning_module(found):
            return True
    if (inspect.isclass(found) or inspect.isfunction(found)) and is_below(home, _PACKAGES):
        return True
    return (inspect.isclass(found) or inspect.isroutine(found)) and is_below(home, trusted)


def _made(config: Any, path: Path, trusted: Sequence[str], **parts: Any) -> Any:
    if isinstance(config, (list, tuple)):
        return [_made(item, path, trusted) for item in config]
    if not isinstance(config, dict):
        return config
    if _TARGET not in config:
        return {key: _made(value, path, trusted) for key, value in config.items()}
    call = target(config[_TARGET], path, trusted)
    deep = config.get("_recursive_", True)
    values = {key: _made(value, path, trusted) if deep else value for key, value in config.items()}
    for name in getattr(call, "only_to_start", ()):  # the checkpoint has the weights
        values.pop(name, None)
    positional = values.pop(_ARGS, [])
    named = {key: value for key, value in values.items() if key not in _OF_HYDRA} | parts
    if config.get("_partial_"):
        return partial(call, *positional, **named)
    try:
        return call(*positional, **named)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: {config[_TARGET]} cannot be made from the settings in its config: {error}"
        ) from error

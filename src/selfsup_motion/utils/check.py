"""Compares a composed config with the signatures of what it is going to build."""

import collections.abc
import importlib
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from omegaconf import DictConfig, ListConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.utils.config import missing_values, user_key
from selfsup_motion.utils.diagnose import nearest

_SEED = 2**32 - 1  # the largest that NumPy's global generator takes
_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}

TOP_LEVEL: dict[str, Any] = {
    "experiment": str,
    "seed": int,
    "resume": str | None,
    "monitor": str,
    "monitor_mode": Literal["min", "max"],
    "optimized_metric": str | None,
    "print_config": bool,
    "compile": bool,
    "stop_within": float,
    "lr_scaling.rule": Literal["linear", "sqrt"] | None,
    "lr_scaling.base_batch_size": int,
    "paths.output_dir": str,
}


def check_config(cfg: DictConfig, top_level: Mapping[str, Any] = TOP_LEVEL) -> None:
    """Every value set, every key known to the constructor it goes to, every type right.

    Args:
        cfg: the config.
        top_level: types of the keys that go to no constructor.

    Raises:
        UserError: with the key that a person sets (`data.batch_size`, not the
            `data.module.batch_size` that refers to it), what was expected and the nearest name.
    """
    if missing := missing_values(cfg):
        key = missing[0]
        value = "/path/to/folder" if key.endswith(("root", "dir", "path", "output")) else "<value>"
        raise UserError(f"{key} is not set: add it to the command line, for example {key}={value}")
    for key, annotation in top_level.items():
        _check_value(cfg, key, OmegaConf.select(cfg, key), annotation)
    _check_nodes(cfg, cfg, "")


def locate(target: str) -> Any:
    """The object that a `_target_` names, imported.

    Raises:
        UserError: there is no such object.
    """
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as error:
            if error.name and target.startswith(error.name):
                continue
            raise
        try:
            for name in parts[cut:]:
                found = getattr(found, name)
        except AttributeError:
            break
        return found
    raise UserError(f"_target_: {target} cannot be imported.")


def matches(value: Any, annotation: Any) -> bool:
    """Whether a plain YAML value fits an annotation; annotations that YAML cannot express fit all.

    An int is a valid float; a bool is not a valid int.
    """
    if annotation in (Any, inspect.Parameter.empty, object):
        return True
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return matches(value, args[0])
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, option) for option in args)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in args)
    if annotation in (None, type(None)):
        return value is None
    kind = origin or annotation
    if not inspect.isclass(kind):
        return True
    if kind is bool or kind is str:
        return isinstance(value, kind)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if issubclass(kind, os.PathLike):
        return isinstance(value, str)
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if issubclass(kind, tuple) and kind is tuple:
        return _matches_tuple(value, args)
    if issubclass(kind, collections.abc.Iterable) and kind.__module__ in (
        "builtins",
        "collections.abc",
    ):
        return isinstance(value, list) and all(matches(v, args[0]) for v in value if args)
    # a plain value never stands for an object: those come as nodes of their own
    return value is not None and not isinstance(value, (bool, int, float, str, list))


def describe(annotation: Any) -> str:
    """An annotation in a reader's words: `int | None` -> 'an integer or null'."""
    words: dict[Any, str] = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
    }
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in words:
        return words[annotation]
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in args))
    if origin is Literal:
        return "one of " + ", ".join(str(option) for option in args)
    if origin is tuple and Ellipsis not in args:
        return f"a list of {len(args)} values"
    kind = origin or annotation
    if inspect.isclass(kind) and issubclass(kind, os.PathLike):
        return "a path"
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "a mapping"
    if inspect.isclass(kind) and issubclass(kind, collections.abc.Iterable):
        return f"a list, each {describe(args[0])}" if args else "a list"
    return f"a {getattr(annotation, '__name__', annotation)}"


def _matches_tuple(value: Any, args: tuple[Any, ...]) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    if not args:
        return True
    if len(args) == 2 and args[1] is Ellipsis:
        return all(matches(v, args[0]) for v in value)
    return len(value) == len(args) and all(map(matches, value, args))


def _check_nodes(cfg: DictConfig, node: Any, path: str) -> None:
    if isinstance(node, ListConfig):
        for index, item in enumerate(node):
            _check_nodes(cfg, item, f"{path}.{index}")
    if not isinstance(node, DictConfig):
        return
    if isinstance(node.get("_target_"), str):
        _check_node(cfg, node, path)
    for name in map(str, node):
        _check_nodes(cfg, node[name], f"{path}.{name}" if path else name)


def _check_node(cfg: DictConfig, node: DictConfig, path: str) -> None:
    target = locate(node["_target_"])
    function = target.__init__ if inspect.isclass(target) else target
    parameters = dict(inspect.signature(target).parameters)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(function)
    for name in map(str, node):
        if name in _HYDRA_KEYS:
            continue
        if name not in parameters:
            if takes_all:
                continue
            guess = nearest(name, parameters)
            hint = f"did you mean {path}.{guess}?" if guess else f"it has {', '.join(parameters)}."
            raise UserError(f"Unknown key {path}.{name}: {hint}")
        value = node[name]
        if not (isinstance(value, DictConfig) and "_target_" in value):
            _check_value(cfg, f"{path}.{name}", value, hints.get(name, Any))


def _check_value(cfg: DictConfig, key: str, value: Any, annotation: Any) -> None:
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if not matches(plain, annotation):
        given = (
            "null"
            if plain is None
            else str(plain).lower()
            if plain is True or plain is False
            else plain
        )
        raise UserError(f"{user_key(cfg, key)}={given}: expected {describe(annotation)}.")
    if key.rpartition(".")[2] == "seed" and isinstance(plain, int) and not 0 <= plain <= _SEED:
        raise UserError(f"{user_key(cfg, key)}={plain}: expected a whole number from 0 to {_SEED}.")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(function)
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        # Lightning imports some of the names in its annotations for type checkers only
        return {}

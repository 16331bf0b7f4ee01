"""Compares a composed config with the signatures of what it is going to build."""

import collections.abc
import inspect
import os
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import FILE, FILE_OR_FOLDER, FOLDER, check_exists
from selfsup_motion.settings.arguments import as_text, typed
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.keys import missing_values, user_key
from selfsup_motion.settings.nearest import nearest_name
from selfsup_motion.settings.signatures import signature

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


def check_config(
    cfg: DictConfig,
    top_level: Mapping[str, Any] = TOP_LEVEL,
    given: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Every value set, every key known to the constructor it goes to, every type right, every file
    there that must be.

    Nothing is imported: the constructors' source is read.

    Args:
        cfg: the config.
        top_level: types of the keys that go to no constructor.
        given: arguments that the program adds, by the node that they go to; `logger.*` are the
            nodes in `logger`.

    Raises:
        UserError: with the key that a person sets (`data.batch_size`, not the
            `data.module.batch_size` that refers to it), what was expected and the nearest name.
    """
    if missing := missing_values(cfg):
        key = missing[0]
        raise UserError(f"{key} is not set: add it to the command line, for example {example(key)}")
    for key, annotation in top_level.items():
        _check_value(cfg, key, OmegaConf.select(cfg, key), annotation)
    _check_nodes(cfg, cfg, "", {"logger.*": ("folder", "resume_step"), **(given or {})})


def example(key: str) -> str:
    """`key=value` as the help of the command has it, else with a word for the value."""
    command = HydraConfig.get().job.config_name if HydraConfig.initialized() else None
    file = config_dir() / "hydra" / "help" / f"{command}.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if found := re.search(rf"(?<= ){re.escape(key)}=[^\s<]+(?=\s)", text):
        return found[0]
    if key.endswith(("root", "dir", "path", "output")):
        return f"{key}=/path/to/folder"
    return f"{key}=<value>"


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
    if origin is typing.Annotated:
        return describe(args[0])
    if origin is tuple and Ellipsis not in args:
        return f"a list of {len(args)} {_plural(args[0]) if len(set(args)) == 1 else 'values'}"
    kind = origin or annotation
    if inspect.isclass(kind) and issubclass(kind, os.PathLike):
        return "a path"
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "a mapping"
    if inspect.isclass(kind) and issubclass(kind, collections.abc.Iterable):
        return f"a list of {_plural(args[0])}" if args else "a list"
    return f"a {getattr(annotation, '__name__', annotation)}"


def _plural(annotation: Any) -> str:
    """`list[int]` -> 'lists of integers'."""
    told = describe(annotation)
    words = {"a text": "texts", "true or false": "true or false", "a path": "paths"}
    if told in words:
        return words[told]
    if told.startswith("one of "):
        return f"values out of {told.removeprefix('one of ')}"
    if told.startswith("a list"):
        return f"lists{told.removeprefix('a list')}"
    if told.startswith(("a ", "an ")) and " or " not in told:
        return f"{told.partition(' ')[2]}s"
    return f"values, each {told}"


def _matches_tuple(value: Any, args: tuple[Any, ...]) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    if not args:
        return True
    if len(args) == 2 and args[1] is Ellipsis:
        return all(matches(v, args[0]) for v in value)
    return len(value) == len(args) and all(map(matches, value, args))


def _check_nodes(cfg: DictConfig, node: Any, path: str, given: Mapping[str, Any]) -> None:
    if isinstance(node, ListConfig):
        for index, item in enumerate(node):
            _check_nodes(cfg, item, f"{path}.{index}", given)
    if not isinstance(node, DictConfig):
        return
    if isinstance(node.get("_target_"), str):
        check_node(cfg, node, path, given.get(path, given.get(f"{path.rpartition('.')[0]}.*", ())))
    for name in map(str, node):
        _check_nodes(cfg, node[name], f"{path}.{name}" if path else name, given)


def check_node(cfg: DictConfig, node: DictConfig, path: str, given: Collection[str] = ()) -> None:
    """As `check_config`, for a single node of it.

    Args:
        cfg: the config.
        node: with a `_target_`.
        path: of the node.
        given: arguments that the program adds.

    Raises:
        UserError: as `check_config`.
    """
    try:
        takes = signature(node["_target_"])
    except UserError as error:
        raise UserError(f"{path}._target_: {error}") from error
    known = takes.names
    for name in map(str, node):
        if name in _HYDRA_KEYS:
            continue
        if name not in known:
            if takes.takes_all:
                continue
            guess = nearest_name(name, known)
            hint = f"did you mean {path}.{guess}?" if guess else f"it has {', '.join(known)}."
            raise UserError(f"Unknown key {path}.{name}: {hint}")
        value = node[name]
        if not (isinstance(value, DictConfig) and "_target_" in value):
            _check_value(cfg, f"{path}.{name}", value, takes.annotation(name))
    lacking = [name for name in takes.required if name not in node and name not in given]
    if lacking and not node.get("_partial_") and "_args_" not in node:
        raise UserError(
            f"{path}: {node['_target_']} needs {', '.join(lacking)}: set "
            f"{'it' if len(lacking) == 1 else 'them'} beside _target_ in the YAML file, or on the "
            f"command line: +{path}.{lacking[0]}=<value>"
        )


def _check_value(cfg: DictConfig, key: str, value: Any, annotation: Any) -> None:
    plain: Any = value
    if OmegaConf.is_config(value):
        plain = OmegaConf.to_container(value, resolve=True)
    if not matches(plain, annotation):
        own = user_key(cfg, key)
        raise UserError(
            f"{own}={value_text(plain)}: expected {describe(annotation)}"
            f"{_hint(own, plain, annotation)}."
        )
    if key.rpartition(".")[2] == "seed" and isinstance(plain, int) and not 0 <= plain <= _SEED:
        raise UserError(f"{user_key(cfg, key)}={plain}: expected a whole number from 0 to {_SEED}.")
    if plain is not None:
        for kind in _path_kinds(plain, annotation):
            check_exists(user_key(cfg, key), plain, kind)


def value_text(value: Any) -> str:
    """A plain value as it is typed: null, true, [1,2]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(value_text, value))}]"
    return str(value)


def _hint(key: str, value: Any, annotation: Any) -> str:
    """What to type instead, where that is clear."""
    if not isinstance(value, (Mapping, type(None))) and matches([value], annotation):
        return f", for example {key}=[{value_text(value)}]"
    if isinstance(value, (bool, int, float)) and matches("text", annotation):
        return f"; if {_typed_value(key, value)} is one, write " + typed(
            as_text(key, _typed_value(key, value))
        )
    return ""


def _typed_value(key: str, value: Any) -> str:
    """A value as it stands on the command line: 007 and 2024_01 are read as numbers."""
    if HydraConfig.initialized():
        read = OverridesParser.create()
        for override in HydraConfig.get().overrides.task:
            name, _, text = override.partition("=")
            # what was composed last may be another config
            if name.lstrip("+") == key and read.parse_override(override).value() == value:
                return str(text)
    return value_text(value)


def _path_kinds(value: Any, annotation: Any) -> set[str]:
    """What a constructor wants to exist at a value, see `files.inputs`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated and isinstance(value, str):
        return {FILE, FOLDER, FILE_OR_FOLDER}.intersection(args[1:])
    if origin in (typing.Union, types.UnionType):
        fitting = [option for option in args if matches(value, option)]
        return _path_kinds(value, fitting[0]) if fitting else set()
    return set()


def check_root(cfg: DictConfig, path: str) -> None:
    """Make sure that the folder of a data set exists, before what reads data is imported.

    Args:
        cfg: the config.
        path: of a node; without a `root`, or with an URL as root, it is not looked at.

    Raises:
        UserError: it does not.
    """
    root = OmegaConf.select(cfg, f"{path}.root")
    if isinstance(root, str) and "://" not in root:
        check_exists(user_key(cfg, f"{path}.root"), root, FILE_OR_FOLDER, "folder")

"""Where the configuration lives and how to compose it without running anything."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, Node, OmegaConf, open_dict

from selfsup_motion.errors import UserError


def config_dir() -> Path:
    """Folder of the YAML groups: the wheel's own copy if it is there, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if folder.is_dir():
            return folder
    raise UserError(f"{package}: the package came without its configuration, install it again.")


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


def described(group: str) -> dict[str, str]:
    """What a group offers, each with the first comment line of its file."""
    root = config_dir() / group
    return {name: _first_comment(root / f"{name}.yaml") for name in options(group)}


def options(group: str) -> list[str]:
    """What a group offers, the simple names first; `_name.yaml` are parts of others."""
    root = config_dir() / group
    files = [file for file in root.rglob("*.yaml") if not file.name.startswith("_")]
    names = [file.relative_to(root).with_suffix("").as_posix() for file in files]
    return sorted(names, key=lambda name: (name.count("/"), name))


def register_help() -> None:
    """Let the help text list the options of a group: `${options:data}`, `${lines:task}`."""
    OmegaConf.register_new_resolver("options", lambda g: ", ".join(options(g)), replace=True)
    OmegaConf.register_new_resolver("lines", option_list, replace=True)


def option_list(group: str) -> str:
    """One line per option of a group."""
    known = described(group)
    width = max(map(len, known), default=0)
    lines = [f"  {group}={name:<{width}}  {text}".rstrip() for name, text in known.items()]
    return "\n".join(lines)


def keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config, parents before children."""
    for name in map(str, cfg):
        key = f"{prefix}{name}"
        yield key
        node = None if OmegaConf.is_missing(cfg, name) else cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from keys(node, f"{key}.")


def missing_values(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Dotted keys whose own value is still `???`; references to them are not listed."""
    missing = []
    for name in map(str, cfg):
        node = cfg._get_node(name)
        if isinstance(node, Node) and not node._is_interpolation():
            if node._is_missing():
                missing.append(f"{prefix}{name}")
            elif isinstance(node, DictConfig) and not node._is_none():
                missing += missing_values(node, f"{prefix}{name}.")
    return missing


def user_key(cfg: DictConfig, key: str) -> str:
    """The key that a person sets: follows `a: ${b.c}` from a to b.c."""
    for _ in range(10):  # a chain this long is a cycle, which OmegaConf reports when it resolves
        parent = OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
        node = parent._get_node(key.rpartition(".")[2]) if isinstance(parent, DictConfig) else None
        raw = node._value() if node is not None else None
        if not (isinstance(raw, str) and raw.startswith("${") and raw.count("${") == 1):
            return key
        target = raw.removeprefix("${").removesuffix("}")
        if not raw.endswith("}") or ":" in target or target.startswith("."):
            return key
        key = target
    return key


def _first_comment(file: Path) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").rstrip()
    return ""


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
    from selfsup_motion.utils.build import build

    return build(part, "data")


# `${steps:<passes>,<items>,<batch size>}`; needed wherever a config is resolved
OmegaConf.register_new_resolver("steps", _steps, replace=True)
# `${classes:${data.actions.train}}` and `${size:${data.actions.train}}`
OmegaConf.register_new_resolver("classes", _classes, replace=True, use_cache=True)
OmegaConf.register_new_resolver("size", _size, replace=True, use_cache=True)

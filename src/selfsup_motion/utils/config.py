"""Where the configuration lives and how to compose it without running anything."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, Node, OmegaConf, open_dict

from selfsup_motion.errors import UserError

_own: list[Path] = []
"""A person's own config folders."""


def config_dir() -> Path:
    """Folder of the YAML groups: the wheel's own copy if it is there, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if folder.is_dir():
            return folder
    raise UserError(f"{package}: the package lacks its configuration, install it again.")


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


def use_folders(folders: Sequence[Path]) -> None:
    """Count the options in a person's own config folders in, wherever options are listed."""
    _own[:] = folders


def described(group: str) -> dict[str, str]:
    """What a group offers, each with the first comment line of its file."""
    return {name: _first_comment(file) for name, file in _files(group).items()}


def options(group: str) -> list[str]:
    """What a group offers, the simple names first; `_name.yaml` are parts of others."""
    return list(_files(group))


def groups() -> list[str]:
    """The groups that there are, whatever command they belong to."""
    found = [path for root in (*_own, config_dir()) if root.is_dir() for path in root.iterdir()]
    return sorted({path.name for path in found if path.is_dir() and path.name != "hydra"})


def groups_of(command: str) -> set[str]:
    """The groups that a command has."""
    # as a text: to parse dozens of YAML files takes a second
    text = (config_dir() / f"{command}.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^ +- (\w+):", text))


def commands() -> dict[str, str]:
    """The commands by name, each with what it does."""
    files = sorted((config_dir() / "hydra" / "help").glob("*.yaml"))
    return {file.stem: str(OmegaConf.load(file)["header"]) for file in files}  # type: ignore[index]


def options_with(group: str, key: str, command: str) -> list[str]:
    """The options of a group that a command can use and that have a key at their top."""
    files = _files(group)
    return [name for name in usable(group, command) if _has_key(files[name], key)]


def usable(group: str, command: str) -> list[str]:
    """The options of a group that a command can be given: not those that choose an option of a
    group that it does not have (an encoder its propagator), nor, for train, data sets of
    evaluation and encoders without weights.
    """
    own = groups_of(command)
    names = []
    for name, file in _files(group).items():
        chosen = re.findall(r"(?m)^ +- override /(\w+)", file.read_text(encoding="utf-8"))
        if command in ("train", "fit_colors") and group == "data" and not _has_key(file, "module"):
            continue
        if command == "train" and _first_comment(file).startswith("No weights"):
            continue
        if set(chosen) <= own:
            names.append(name)
    return names


def register_help(command: str) -> None:
    """Let a command's help list the options of a group: `${options:data}`, `${lines:task}`."""
    OmegaConf.register_new_resolver(
        "options", lambda group: ", ".join(usable(group, command)), replace=True
    )
    OmegaConf.register_new_resolver("lines", option_list, replace=True)
    OmegaConf.register_new_resolver("own_groups", _own_groups, replace=True)


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


def _files(group: str) -> dict[str, Path]:
    """The files of a group by name; a person's own come before ours, as in Hydra."""
    found: dict[str, Path] = {}
    for folder in (config_dir(), *reversed(_own)):
        root = folder / group
        for file in root.rglob("*.yaml"):
            if not file.name.startswith("_"):
                found[file.relative_to(root).with_suffix("").as_posix()] = file
    return dict(sorted(found.items(), key=lambda item: (item[0].count("/"), item[0])))


def _own_groups() -> str:
    """Lines for the help text about groups that only a person's own folders have."""
    theirs = [group for group in groups() if not (config_dir() / group).is_dir()]
    lines = [f"  {group:<12} {', '.join(options(group))}" for group in theirs if options(group)]
    return "\n".join(["Groups of your own", *lines, "", ""]) if lines else ""


def _has_key(file: Path, key: str) -> bool:
    """Whether a config file, or one of its group that it is made of, has a key at its top."""
    text = file.read_text(encoding="utf-8")
    inherited = (file.with_name(f"{part}.yaml") for part in re.findall(r"(?m)^ +- (\w+)$", text))
    return re.search(rf"(?m)^{key}:", text) is not None or any(
        part.is_file() and part != file and _has_key(part, key) for part in inherited
    )


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
    from selfsup_motion.utils.check import check_node
    from selfsup_motion.utils.preflight import check_root

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

"""Settings that are typed although nothing in a command reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.settings.diagnose import OF_TRAINING

TRAINING = (
    "experiment", "seed", "resume", "monitor", "monitor_mode", "optimized_metric", "lr_scaling",
    "compile", "stop_within", "print_config", "paths", "method", "data.module", "data.batch_size",
    "trainer", "callbacks", "logger",
)  # fmt: skip
"""What a run of training reads, see `check_used`."""

# innermost references, also those in the arguments of a resolver: ${steps:${passes},${videos}}
_REFERENCE = re.compile(r"\$\{\s*([^${}:\s]+)\s*\}")


def check_used(
    cfg: DictConfig, roots: Iterable[str], command: str, *, why: str = "does not train"
) -> None:
    """Make sure that everything on the command line is read by something.

    Args:
        cfg: the config as it was composed, not resolved.
        roots: the keys that the command reads, all that is below them included; what these refer
            to is read as well.
        command: what to call it: "task=davis2017".
        why: it has no use for the settings of training.

    Raises:
        UserError: with the first setting that nothing reads.
    """
    if not HydraConfig.initialized():
        return
    used = set(_used(cfg, roots))
    for override in HydraConfig.get().overrides.task:
        key = _key(override)
        if key is None or _value(cfg, key) is None or key in used:
            continue
        if any(other.startswith(f"{key}.") for other in used):
            continue
        if key.partition(".")[0] in OF_TRAINING:
            raise UserError(f"{override}: {command} {why}, leave it out.")
        raise UserError(f"{override}: {command} does not use it, leave it out.")


def lacking(cfg: DictConfig, root: str, group: str) -> str | None:
    """What a part of the config refers to in a group that the chosen option does not have.

    Args:
        cfg: the config as it was composed, not resolved.
        root: key of the part.
        group: the group.

    Returns:
        The name of the first key that is not there, `sequences` of `${data.sequences}`.
    """
    there = {str(name) for name in cfg[group]}
    names = (key.split(".")[1] for key in _used(cfg, [root]) if key.startswith(f"{group}."))
    return next((name for name in names if name not in there), None)


def refuse_ineffective(rows: Iterable[tuple[str, bool, str]]) -> None:
    """Make sure that what is on the command line has an effect together with the other settings.

    Args:
        rows: of keys, whether they have none, and why.

    Raises:
        UserError: with the first setting that has none.
    """
    for key, idle, why in rows:
        if idle and (setting := as_typed(key)):
            raise UserError(f"{setting}: {why}; leave it out.")


def as_typed(key: str) -> str | None:
    """The setting of a key on the command line as it was typed; None if it was not."""
    if not HydraConfig.initialized():
        return None
    given = [text for text in HydraConfig.get().overrides.task if _key(text) == key]
    return given[-1] if given else None


def _key(override: str) -> str | None:
    """The key in the config that an override sets; None if it removes one, or a group spreads its
    settings over all of the config."""
    if override.startswith("~"):
        return None
    name = override.partition("=")[0].lstrip("+")
    group, _, package = name.partition("@")
    if ":" in package or package == "_global_":
        return None
    return package or group.replace("/", ".")


def _value(cfg: DictConfig, key: str) -> Any:
    """What is set there, references as they are written; None if there is nothing."""
    node: Any = cfg
    for name in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_interpolation():
            return None
        node = node._get_node(name) if name in node.keys() else None  # noqa: SIM118 - also `???`
    return None if node is None or node._is_none() else node


def _used(cfg: DictConfig, roots: Iterable[str]) -> Iterator[str]:
    """All keys that are read when those of `roots` are."""
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        yield key
        # a key below one that refers to another place
        for cut in range(key.count(".")):
            above = ".".join(key.split(".")[: cut + 1])
            node = _value(cfg, above)
            if isinstance(node, DictConfig) and node._is_interpolation():
                rest = key[len(above) :]
                waiting += [above, *(f"{to}{rest}" for to in _references(node, above))]
        node = _value(cfg, key)
        if node is None:
            continue
        if isinstance(node, DictConfig) and not node._is_interpolation():
            if not node._is_missing():
                waiting += [f"{key}.{name}" for name in map(str, node)]
        else:
            waiting += _references(node, key)


def _references(node: Any, key: str) -> list[str]:
    """The keys that the value of a key refers to."""
    if isinstance(node, ListConfig) and not node._is_interpolation() and not node._is_missing():
        text = str(OmegaConf.to_container(node, resolve=False))
    else:
        text = str(node._value())
    return [_absolute(name, key) for name in _REFERENCE.findall(text)]


def _absolute(name: str, key: str) -> str:
    """`..a` in `x.y.z` is `x.a`."""
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    return ".".join([*key.split(".")[:-dots], name[dots:]])

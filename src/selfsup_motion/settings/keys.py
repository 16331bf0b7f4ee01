"""Dotted keys of a config."""

from collections.abc import Iterator

from omegaconf import DictConfig, Node, OmegaConf


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
    """The key that a person sets: follows `a: ${b.c}` from a to b.c, and from a.d to b.c.d."""
    for _ in range(10):  # a chain this long is a cycle, which OmegaConf reports when it resolves
        names = key.split(".")
        for depth in range(1, len(names) + 1):
            target = _referred(cfg, ".".join(names[:depth]))
            if target is not None:
                key = ".".join([target, *names[depth:]])
                break
        else:
            break
    return key


def _referred(cfg: DictConfig, key: str) -> str | None:
    """The key that a node is a reference to, `${key}` and nothing else."""
    parent = OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
    node = parent._get_node(key.rpartition(".")[2]) if isinstance(parent, DictConfig) else None
    raw = node._value() if node is not None else None
    if not (isinstance(raw, str) and raw.startswith("${") and raw.count("${") == 1):
        return None
    target = raw.removeprefix("${").removesuffix("}")
    return None if not raw.endswith("}") or ":" in target or target.startswith(".") else target

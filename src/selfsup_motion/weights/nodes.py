"""What a checkpoint's config, or the caller's instead of it, says is to be built."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from torch import nn

from selfsup_motion.errors import CheckpointError
from selfsup_motion.settings.groups import options
from selfsup_motion.settings.moved import current_target
from selfsup_motion.settings.signatures import signature
from selfsup_motion.settings.trust import Trust
from selfsup_motion.weights.published import compose_parts
from selfsup_motion.weights.rebuilding import check_calls, rebuild, target

_NETWORKS = {
    "selfsup_motion.methods.cmp.CMP": "selfsup_motion.methods.cmp.network.CMPNetwork",
    "selfsup_motion.methods.cmp.method.CMP": "selfsup_motion.methods.cmp.network.CMPNetwork",
    "selfsup_motion.methods.mosi.MoSI": "selfsup_motion.methods.mosi.network.MoSINetwork",
    "selfsup_motion.methods.mosi.method.MoSI": "selfsup_motion.methods.mosi.network.MoSINetwork",
}
"""Methods, by what checkpoints call them, and what they are asked with."""


def encoder_node(
    config: Mapping[str, Any] | None,
    overrides: Sequence[str],
    encoder: str | Mapping[str, Any] | None,
    path: Path,
    trusted: Sequence[str],
) -> Any:
    """Config of an encoder.

    Args:
        config: of the run that wrote the file; None if it was another program.
        overrides: then, what its weights look like.
        encoder: what is asked for, see `load_encoder`.
        path: of the file.
        trusted: packages.
    """
    if encoder is None:
        config = config or compose_parts(overrides)
        node = config.get("encoder")
        if not isinstance(node, dict):
            return node
        return {**node, **_settings_of_task(config, path, trusted)}
    if not isinstance(encoder, str):
        return plain({"encoder": encoder})["encoder"]
    check_option("encoder", encoder, "encoder")
    settings = [text for text in overrides if text.startswith("encoder.")]
    try:
        return compose_parts([f"encoder={encoder}", *settings])["encoder"]
    except HydraException as error:  # another family has other settings
        found = next(text for text in overrides if text.startswith("encoder="))
        raise CheckpointError(
            f"{path}: its weights are those of {found}, not of encoder={encoder}."
        ) from error


def _settings_of_task(
    config: Mapping[str, Any], path: Path, trusted: Sequence[str]
) -> Mapping[str, Any]:
    """What the task that trained an encoder sets in it, whatever the encoder's config says."""
    node = config.get("method") or {}
    if not is_given_its_encoder(node, path, trusted):
        return {}
    task = target(node["_target_"], path, trusted)
    settings: Mapping[str, Any] = getattr(task, "encoder_settings", {})
    return settings


def is_given_its_encoder(node: Any, path: Path, trusted: Sequence[str] | None) -> bool:
    """Whether a method's config leaves out the encoder, since a task gives it one."""
    if not isinstance(node, dict) or "_target_" not in node or "encoder" in node:
        return False
    if trusted is not None:
        check_calls(node, path, trusted)
    return "encoder" in signature(str(node["_target_"])).names


def network_node(node: Any) -> dict[str, Any] | None:
    """The node of the network of a method, without what trains it; None if it has none of its own.

    Args:
        node: of the method.
    """
    if not isinstance(node, dict) or "encoder" not in node:
        return None
    method = current_target(str(node.get("_target_")))
    if method not in _NETWORKS:
        return None
    network = _NETWORKS[method]
    of_training = {*signature(method).names} - {*signature(network).names}
    return {name: v for name, v in node.items() if name not in of_training} | {"_target_": network}


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes that are built, as plain values; of the others, references may lead nowhere."""
    whole = OmegaConf.create(dict(config))
    nodes = {name: whole.get(name) for name in ("method", "encoder")}
    return {
        name: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for name, node in nodes.items()
    }


def check_option(argument: str, name: str, group: str) -> None:
    """Make sure that a config group has an option of that name.

    Raises:
        CheckpointError: it has not; with those that it has.
    """
    if name not in options(group):
        raise CheckpointError(
            f"{argument}={name}: there is no such {group}; choose one of "
            f"{', '.join(options(group))}, or give a mapping."
        )


def build_node(config: Any, key: str, path: Path, trust: Trust | None, **parts: nn.Module) -> Any:
    """What a node describes; `trust` is None for one that the caller wrote himself."""
    if not isinstance(config, dict) or "_target_" not in config:
        raise CheckpointError(f"{path}: its config has no {key}.")
    if trust is None:
        return hydra.utils.instantiate(config, _convert_="all", **parts)
    return rebuild(config, path, trust, **parts)

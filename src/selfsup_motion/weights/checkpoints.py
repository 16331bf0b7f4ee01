"""Networks with trained weights: of our runs, of the papers' authors, of torchvision."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from selfsup_motion.errors import CheckpointError
from selfsup_motion.settings.trust import Trust, packages
from selfsup_motion.weights.contents import (
    EMA_KEY,
    KEY,
    Stored,
    encoder_part,
    method_name,
    open_alone,
    open_stored,
    read_checkpoint,
)
from selfsup_motion.weights.nodes import (
    build_node,
    check_option,
    encoder_node,
    is_given_its_encoder,
    network_node,
    plain,
)
from selfsup_motion.weights.published import compose_parts
from selfsup_motion.weights.rebuilding import is_lightning_module
from selfsup_motion.weights.run_folders import checkpoint_file
from selfsup_motion.weights.used import (
    WeightsUsed,
    load_report,
    remember,
    remember_node,
    untrained_copy,
    weights_used,
)

if TYPE_CHECKING:
    import pytorch_lightning as pl

__all__ = [
    "EMA_KEY",
    "KEY",
    "WeightsUsed",
    "check_weights",
    "encoder_config",
    "load_encoder",
    "load_method",
    "load_network",
    "load_report",
    "method_name",
    "read_checkpoint",
    "untrained_copy",
    "weights_used",
]
"""With what stood here before `contents` and `used` were files of their own."""

log = logging.getLogger(__name__)


def load_method(
    path: str | Path,
    *,
    key: str | None = None,
    config: str | Mapping[str, Any] | None = None,
    method: pl.LightningModule | None = None,
    trust: Trust = (),
    map_location: str | torch.device | None = None,
) -> pl.LightningModule:
    """A trained method, in evaluation mode.

    Args:
        path: a checkpoint of a run (of train, or of a task that trains), a run folder (its
            `checkpoints/best.ckpt`, else `last.ckpt`), one that a `pl.Trainer` wrote of a method
            of `selfsup_motion.build`, one of the authors' own training, or the
            name of a model that comes with the package (`python -m selfsup_motion.weights`).
        key: see `load_encoder`.
        config: what to build: the name of an experiment (`paper/cmp_alexnet`) or a mapping with
            `method`, which may name any class, since you wrote it. None: what the file says, or
            what its weights look like.
        method: instead of `config`, a method that is made already, as the one in the file was; it
            is given the weights, and returned. For methods that were made in Python.
        trust: packages of your own (`"my_package"`, or several) whose classes the config in the
            file may name, besides those of this package.
        map_location: device to put it on. None: the CPU, or where the given method is.

    Raises:
        CheckpointError: missing, damaged or unknown file, one that names a class that is neither
            of this package nor trusted, or weights that do not fit the method.
    """
    path = checkpoint_file(path)
    if method is not None:
        if config is not None:
            raise ValueError("config and method both say what to build: give one of them")
        return _given(method, open_alone(path, key), path, key, map_location)
    stored = open_stored(path, key)
    if stored.kind is not None and not stored.kind.whole:
        raise CheckpointError(f"{path}: only a {stored.kind.name}, read it with load_encoder.")
    trusted = packages(trust) if config is None else None
    if isinstance(config, str):
        check_option("config", config, "experiment")
        config = compose_parts([f"experiment={config}"])
    elif config is None:
        config = stored.config or compose_parts(stored.overrides)
    else:
        config = plain(config)
    node, parts = config.get("method"), {}
    if is_given_its_encoder(node, path, trusted):
        parts["encoder"] = build_node(config.get("encoder"), "encoder", path, trusted)
    made = build_node(node, "method", path, trusted, **parts)
    if not is_lightning_module(type(made)):
        raise CheckpointError(f"{path}: its method is not a LightningModule.")
    return cast("pl.LightningModule", _loaded(made, stored, key, path, map_location))


def load_network(
    path: str | Path,
    *,
    key: str | None = None,
    trust: Trust = (),
    map_location: str | torch.device | None = None,
) -> nn.Module:
    """What a trained method is asked with, in evaluation mode: `CMPNetwork` or `MoSINetwork`.

    It has the weights and the answers of the method, and nothing that trains it; so Lightning,
    which takes longer to import than an answer takes, is not imported. Of another method it is
    what `load_method` gives.

    Args:
        path: see `load_method`.
        key: see `load_encoder`.
        trust: see `load_method`.
        map_location: see `load_method`.

    Raises:
        CheckpointError: see `load_method`.
    """
    path = checkpoint_file(path)
    stored = open_stored(path, key)
    node = None
    if stored.kind is None or stored.kind.whole:
        node = network_node((stored.config or compose_parts(stored.overrides)).get("method"))
    if node is None:
        return load_method(path, key=key, trust=trust, map_location=map_location)
    made: nn.Module = build_node(node, "method", path, packages(trust))
    return _loaded(made, stored, key, path, map_location)


def load_encoder(
    path: str | Path,
    *,
    key: str | None = None,
    encoder: str | Mapping[str, Any] | nn.Module | None = None,
    trust: Trust = (),
    map_location: str | torch.device | None = None,
) -> nn.Module:
    """The part of a trained method that transfers, in evaluation mode.

    Every parameter and buffer of the encoder comes from the file; what else the file holds
    (heads, decoders) is named once in the log, and by `load_report`.

    Args:
        path: a checkpoint of a run, a run folder (its `checkpoints/best.ckpt`, else `last.ckpt`),
            a checkpoint of the authors' own training or an encoder exported from it (CMP), or a
            torchvision ResNet; all of these as `torch.save` or safetensors wrote them. Or the
            name of a model that comes with the package (`python -m selfsup_motion.weights`).
        key: where in the file the weights are, in dotted names (`teacher`, `model_ema.module`), if
            it holds several networks or one in an unusual place; of a run with `callbacks=ema`,
            `ema.weights` are those that were not averaged.
        encoder: what to build: one of `conf/encoder` (`resnet50`) or a mapping with `_target_`,
            which may name any class, since you wrote it; or an encoder that is made already, which
            is given the weights, and returned. None: what the file says, or what its weights look
            like. Weights do not tell a stride: it is then the one of `conf/encoder`.
        trust: packages of your own (`"my_package"`, or several) whose classes the config in the
            file may name, besides those of this package.
        map_location: device to put it on. None: the CPU, or where the given encoder is.

    Raises:
        CheckpointError: missing, damaged or unknown file, one that names a class that is neither
            of this package nor trusted, or weights that do not fit the encoder.
    """
    path = checkpoint_file(path)
    if isinstance(encoder, nn.Module):
        return _given(encoder, encoder_part(open_alone(path, key)), path, key, map_location)
    stored = open_stored(path, key)
    trusted = packages(trust) if encoder is None else None
    node = encoder_node(stored.config, stored.overrides, encoder, path, trusted or ())
    module = build_node(node, "encoder", path, trusted)
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"{path}: its encoder is not a torch.nn.Module.")
    remember_node(module, node, trusted)
    return _loaded(module, encoder_part(stored), key, path, map_location)


def encoder_config(path: str | Path, key: str | None = None, trust: Trust = ()) -> dict[str, Any]:
    """What `load_encoder` builds for a file or run folder: a mapping with `_target_`.

    Raises:
        CheckpointError: missing, damaged or unknown file.
    """
    path = checkpoint_file(path)
    stored = open_stored(path, key)
    node = encoder_node(stored.config, stored.overrides, None, path, packages(trust))
    if not isinstance(node, dict):
        raise CheckpointError(f"{path}: its config has no encoder.")
    return node


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Make sure that `weights` are exactly the parameters and buffers of `module`.

    Raises:
        CheckpointError: with the first names and shapes that differ.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in weights]
    unknown = [name for name in weights if name not in wanted]
    wrong = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    parts = [
        f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
        if names
    ]
    if parts:
        raise CheckpointError(
            f"{path}: its weights do not fit this {type(module).__name__}: {'; '.join(parts)}."
        )


def _load(module: nn.Module, stored: Stored, path: Path) -> str:
    """Give a network the weights of a file; what was taken and what was left, in words."""
    weights, unused = stored.weights, stored.unused
    # files older than PyTorch 0.4.1 have no counters, which nothing here depends on
    counters = {k: v for k, v in module.state_dict().items() if k.endswith("num_batches_tracked")}
    check_weights(module, {**counters, **weights}, path)
    module.load_state_dict({**counters, **weights})
    kind = type(module).__name__
    report = f"{path}: {len(weights)} tensors, all of the {kind}"
    if unused:
        parts = Counter(name.split(".")[0] for name in unused)
        left_out = ", ".join(f"{part} ({count})" for part, count in sorted(parts.items()))
        report += f"; not part of the {kind} and left out: {left_out}"
    log.info("%s", report)
    return report


_Module = TypeVar("_Module", bound=nn.Module)


def _loaded(module: _Module, stored: Stored, key: str | None, path: Path, device: Any) -> _Module:
    """A network that was built for a file, with its weights."""
    report = _load(module, stored, path)
    remember(module, _used(stored, key, path), report)
    return module.to(device or "cpu").eval()


def _given(
    module: _Module,
    stored: Stored,
    path: Path,
    key: str | None,
    device: str | torch.device | None,
) -> _Module:
    """A network that was made by the caller, with the weights of a file."""
    report = _load(module, stored, path)
    used = WeightsUsed(path, type(module).__name__, key, stored.experiment, stored.step)
    remember(module, used, report)
    return (module if device is None else module.to(device)).eval()


def _used(stored: Stored, key: str | None, path: Path) -> WeightsUsed:
    if stored.config is None:
        return WeightsUsed(path, stored.kind.name if stored.kind else "unknown", key)
    return WeightsUsed(path, method_name(stored.config), key, stored.experiment, stored.step)

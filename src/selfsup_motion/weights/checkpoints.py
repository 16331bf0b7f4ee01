"""Reading trained weights: of our runs, of the papers' authors, of torchvision."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from selfsup_motion.errors import CheckpointError
from selfsup_motion.files.tensor_names import unwrapped
from selfsup_motion.files.tensors import read_file
from selfsup_motion.models.libraries.base import LibraryEncoder
from selfsup_motion.settings.trust import Trust, packages
from selfsup_motion.weights.names import find_network, weights_alone
from selfsup_motion.weights.nodes import (
    build_node,
    check_option,
    encoder_node,
    is_given_its_encoder,
    network_node,
    plain,
)
from selfsup_motion.weights.portable import read_portable
from selfsup_motion.weights.published import Format, compose_parts
from selfsup_motion.weights.rebuilding import is_lightning_module
from selfsup_motion.weights.run_folders import checkpoint_file

if TYPE_CHECKING:
    import pytorch_lightning as pl

KEY = "selfsup_motion"
"""Entry of a checkpoint that holds `version`, `experiment` and the resolved `config` of its run."""
EMA_KEY = "ema"
"""Entry of a checkpoint whose `state_dict` holds averaged weights; it has the others."""

_MADE_IN_PYTHON = (
    "it does not say how its method was made, as the checkpoints of selfsup_motion.build and train "
    "do: make the same method again and call load_method(path, method=it), or load_encoder(path, "
    "encoder=its encoder)."
)
_REPORT = "_load_report"
_NODE = "_encoder_node"
_USED = "_weights_used"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsUsed:
    """Which weights a module has been given.

    Attributes:
        path: the file.
        kind: what it holds: the class of a run's method, or a kind of published file.
        key: of the weights in the file, if one was named.
        experiment: of the run; None for a published file.
        step: optimiser steps of the run; None for a published file.
    """

    path: Path
    kind: str
    key: str | None = None
    experiment: str | None = None
    step: int | None = None

    def __str__(self) -> str:
        key = "" if self.key is None else f", key {self.key}"
        run = "" if self.step is None else f", experiment {self.experiment}, step {self.step}"
        return f"{self.path} ({self.kind}{key}{run})"

    def summary(self) -> dict[str, Any]:
        """For `summary.json`; the path is absolute."""
        return {**vars(self), "path": str(self.path.resolve())}


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
        return _given(method, _alone(path, key), path, key, map_location)
    stored = _open(path, key)
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
    stored = _open(path, key)
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
        return _given(encoder, _part(_alone(path, key)), path, key, map_location)
    stored = _open(path, key)
    trusted = packages(trust) if encoder is None else None
    node = encoder_node(stored.config, stored.overrides, encoder, path, trusted or ())
    module = build_node(node, "encoder", path, trusted)
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"{path}: its encoder is not a torch.nn.Module.")
    vars(module)[_NODE] = node, trusted
    return _loaded(module, _part(stored), key, path, map_location)


def untrained_copy(encoder: nn.Module, seed: int) -> nn.Module | None:
    """An encoder as one of `load_encoder` was before training, on the CPU, in evaluation mode.

    Args:
        encoder: of any origin.
        seed: of its random weights; the random state is as before afterwards.

    Returns:
        None if the encoder has no weights of a file, or nothing to learn.
    """
    node, trusted = vars(encoder).get(_NODE, (None, ()))
    if node is None or weights_used(encoder) is None or not any(True for _ in encoder.parameters()):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = build_node(node, "encoder", Path(), trusted)
    return made.eval()


def note_origin(encoder: nn.Module, node: Mapping[str, Any]) -> None:
    """Remember of a network of another library where its weights are from, and how to make it
    again: for `weights_used`, `load_report`, `untrained_copy` and `made_from`.

    Args:
        encoder: any; others than a `LibraryEncoder` have nothing to remember.
        node: that it was made from, plain values.
    """
    if not isinstance(encoder, LibraryEncoder):
        return
    again = {**node, **encoder.own_settings(), **dict.fromkeys(encoder.only_to_start)}
    vars(encoder)[_NODE] = again, None
    if encoder.weights_file is not None:
        key = node.get("weights_key")
        vars(encoder)[_USED] = WeightsUsed(Path(encoder.weights_file), encoder.made_of, key)
        vars(encoder)[_REPORT] = encoder.weights_report


def made_from(encoder: nn.Module) -> dict[str, Any] | None:
    """The config that makes an encoder of `load_encoder` or `choose_encoder` again, without its
    weights; None of others."""
    node = vars(encoder).get(_NODE, (None, ()))[0]
    return dict(node) if isinstance(node, dict) else None


def load_report(module: nn.Module) -> str:
    """What `load_encoder` or `load_method` took from which file, and what it left there."""
    return str(vars(module).get(_REPORT, "no file: the weights it was made with"))


def weights_used(module: nn.Module) -> WeightsUsed | None:
    """What `load_encoder` or `load_method` gave a module; None if it was not loaded by them."""
    used = vars(module).get(_USED)
    return used if isinstance(used, WeightsUsed) else None


def encoder_config(path: str | Path, key: str | None = None, trust: Trust = ()) -> dict[str, Any]:
    """What `load_encoder` builds for a file or run folder: a mapping with `_target_`.

    Raises:
        CheckpointError: missing, damaged or unknown file.
    """
    path = checkpoint_file(path)
    stored = _open(path, key)
    node = encoder_node(stored.config, stored.overrides, None, path, packages(trust))
    if not isinstance(node, dict):
        raise CheckpointError(f"{path}: its config has no encoder.")
    return node


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one of our checkpoints, on the CPU. No code in the file is ever run.

    Raises:
        CheckpointError: missing, damaged, refused or foreign file.
    """
    return _ours(_content(path), path)


def _content(path: Path) -> Any:
    portable = read_portable(path)
    return read_file(path) if portable is None else portable


def method_name(config: Mapping[str, Any]) -> str:
    """The class of the method of a run's config, `CMP`; empty if there is none."""
    return str((config.get("method") or {}).get("_target_", "")).rpartition(".")[2]


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


@dataclass(frozen=True)
class _Stored:
    """What a file holds: weights under our names, and the names of those that have no use.

    A file of ours brings its `config`, `experiment` and `step`; of another one the `kind` is known,
    and the `overrides` that compose a config for it.
    """

    weights: Mapping[str, Tensor]
    unused: Sequence[str] = ()
    config: Mapping[str, Any] | None = None
    experiment: str | None = None
    step: int | None = None
    kind: Format | None = None
    overrides: Sequence[str] = ()


def _open(path: Path, key: str | None) -> _Stored:
    content = _content(path)
    if isinstance(content, dict) and KEY in content:
        checkpoint = _ours(content, path)
        return _Stored(
            _own_weights(checkpoint, key, path),
            config=checkpoint[KEY]["config"],
            experiment=checkpoint[KEY].get("experiment"),
            step=int(checkpoint["global_step"]),
        )
    try:
        network = find_network(content, key, path)
    except CheckpointError as error:
        if key is None and isinstance(content, dict) and "pytorch-lightning_version" in content:
            raise CheckpointError(f"{path}: {_MADE_IN_PYTHON}") from error
        raise
    weights, kind = network.weights, network.kind
    names = {name: kind.rename(name) for name in weights}
    renamed = {new: weights[name] for name, new in names.items() if new is not None}
    unused = [name for name, new in names.items() if new is None] + network.others
    return _Stored(renamed, unused, kind=kind, overrides=kind.overrides(weights))


def _alone(path: Path, key: str | None) -> _Stored:
    """The weights in a file, for a network that is made already."""
    content = _content(path)
    if isinstance(content, dict) and KEY in content:
        return _open(path, key)
    step = content.get("global_step") if isinstance(content, dict) else None
    weights = weights_alone(content, key, path)
    return _Stored(weights, step=step if isinstance(step, int) else None)


def _part(stored: _Stored) -> _Stored:
    """The encoder of a method; all weights if none of them is below `encoder`."""
    prefix = "encoder."
    own = {k.removeprefix(prefix): v for k, v in stored.weights.items() if k.startswith(prefix)}
    others = [name for name in stored.weights if not name.startswith(prefix)]
    return replace(stored, weights=own, unused=[*stored.unused, *others]) if own else stored


def _own_weights(checkpoint: Mapping[str, Any], key: str | None, path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of ours; a run that averages them has two sets."""
    sets = {"state_dict": checkpoint["state_dict"]}
    if isinstance(average := checkpoint.get(EMA_KEY), dict) and "weights" in average:
        sets[f"{EMA_KEY}.weights"] = average["weights"]
    if key not in (None, *sets):
        raise CheckpointError(
            f"{path}: it holds no weights under {key}, but under {' and '.join(sets)}."
        )
    return unwrapped(sets[key or "state_dict"])


def _ours(content: Any, path: Path) -> dict[str, Any]:
    ours = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(ours, dict) or not isinstance(ours.get("config"), dict):
        raise CheckpointError(f"{path}: not a checkpoint of a selfsup_motion training run.")
    if not isinstance(content.get("state_dict"), dict) or "global_step" not in content:
        raise CheckpointError(f"{path}: incomplete, it has no weights or no step.")
    checkpoint: dict[str, Any] = content
    return checkpoint


def _load(
    module: nn.Module, weights: Mapping[str, Tensor], unused: Sequence[str], path: Path
) -> None:
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
    vars(module)[_REPORT] = report


_Module = TypeVar("_Module", bound=nn.Module)


def _loaded(module: _Module, stored: _Stored, key: str | None, path: Path, device: Any) -> _Module:
    """A network that was built for a file, with its weights."""
    _load(module, stored.weights, stored.unused, path)
    vars(module)[_USED] = _used(stored, key, path)
    return module.to(device or "cpu").eval()


def _given(
    module: _Module,
    stored: _Stored,
    path: Path,
    key: str | None,
    device: str | torch.device | None,
) -> _Module:
    """A network that was made by the caller, with the weights of a file."""
    _load(module, stored.weights, stored.unused, path)
    vars(module)[_USED] = WeightsUsed(
        path, type(module).__name__, key, stored.experiment, stored.step
    )
    return (module if device is None else module.to(device)).eval()


def _used(stored: _Stored, key: str | None, path: Path) -> WeightsUsed:
    if stored.config is None:
        return WeightsUsed(path, stored.kind.name if stored.kind else "unknown", key)
    return WeightsUsed(path, method_name(stored.config), key, stored.experiment, stored.step)

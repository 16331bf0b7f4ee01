"""What a file of weights holds: a checkpoint of ours, or a network of other authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from selfsup_motion.errors import CheckpointError
from selfsup_motion.files.tensor_names import unwrapped
from selfsup_motion.files.tensors import read_file
from selfsup_motion.weights.names import find_network, weights_alone
from selfsup_motion.weights.portable import read_portable
from selfsup_motion.weights.published import Format

KEY = "selfsup_motion"
"""Entry of a checkpoint that holds `version`, `experiment` and the resolved `config` of its run."""
EMA_KEY = "ema"
"""Entry of a checkpoint whose `state_dict` holds averaged weights; it has the others."""

_MADE_IN_PYTHON = (
    "it does not say how its method was made, as the checkpoints of selfsup_motion.build and train "
    "do: make the same method again and call load_method(path, method=it), or load_encoder(path, "
    "encoder=its encoder)."
)


@dataclass(frozen=True)
class Stored:
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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one of our checkpoints, on the CPU. No code in the file is ever run.

    Raises:
        CheckpointError: missing, damaged, refused or foreign file.
    """
    return _ours(_content(path), path)


def method_name(config: Mapping[str, Any]) -> str:
    """The class of the method of a run's config, `CMP`; empty if there is none."""
    return str((config.get("method") or {}).get("_target_", "")).rpartition(".")[2]


def open_stored(path: Path, key: str | None) -> Stored:
    """What a file holds.

    Args:
        path: of a file.
        key: of the weights in it; None: where they usually are.

    Raises:
        CheckpointError: missing, damaged or unknown file, or nothing under `key`.
    """
    content = _content(path)
    if isinstance(content, dict) and KEY in content:
        checkpoint = _ours(content, path)
        return Stored(
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
    return Stored(renamed, unused, kind=kind, overrides=kind.overrides(weights))


def open_alone(path: Path, key: str | None) -> Stored:
    """The weights in a file, for a network that is made already."""
    content = _content(path)
    if isinstance(content, dict) and KEY in content:
        return open_stored(path, key)
    step = content.get("global_step") if isinstance(content, dict) else None
    weights = weights_alone(content, key, path)
    return Stored(weights, step=step if isinstance(step, int) else None)


def encoder_part(stored: Stored) -> Stored:
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


def _content(path: Path) -> Any:
    portable = read_portable(path)
    return read_file(path) if portable is None else portable


def _ours(content: Any, path: Path) -> dict[str, Any]:
    ours = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(ours, dict) or not isinstance(ours.get("config"), dict):
        raise CheckpointError(f"{path}: not a checkpoint of a selfsup_motion training run.")
    if not isinstance(content.get("state_dict"), dict) or "global_step" not in content:
        raise CheckpointError(f"{path}: incomplete, it has no weights or no step.")
    checkpoint: dict[str, Any] = content
    return checkpoint

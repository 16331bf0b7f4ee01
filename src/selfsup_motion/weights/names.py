"""Which tensors of a file are the network that is wanted, and what they are called there.

Training codes put a network's weights below names of their own (`state_dict`, `teacher`), and
wrappers of PyTorch put theirs before each name (`module.`, `_orig_mod.`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from selfsup_motion.errors import CheckpointError
from selfsup_motion.files.tensor_names import below, flat, unwrapped
from selfsup_motion.weights.published import FORMATS, Format, recognise

Weights = Mapping[str, Tensor]

# where training codes put the weights in what they save
_PLACES = ("state_dict", "model_state_dict", "model_state", "model")
# what a training code may call the only network that it has
_ONLY = ("model", "encoder", "backbone", "net", "network")
_SHOWN = 6


@dataclass(frozen=True)
class FoundNetwork:
    """What `find_network` found: weights under the names of their kind, and what else there is.

    Attributes:
        weights: of the network.
        kind: what it is.
        others: names of the other tensors in the file.
    """

    weights: dict[str, Tensor]
    kind: Format
    others: list[str]


def find_network(content: Any, key: str | None, path: Path) -> FoundNetwork:
    """The network in a file that somebody else wrote.

    Args:
        content: see `read_file`.
        key: dotted name of what holds the weights (`teacher`, `model_ema.module`); None: the usual
            places.
        path: for messages.

    Raises:
        CheckpointError: there are no weights, none of a known kind, or several networks to choose
            from.
    """
    key = key.strip(".") or None if key is not None else None
    everything, place = flat(content), _usual_place(content)
    if not everything:
        raise CheckpointError(f"{path}: not a checkpoint, it has no weights.")
    inside = flat(place)
    if key is None:
        direct = {str(name): v for name, v in place.items() if isinstance(v, Tensor)}
        weights = direct or inside
    else:
        weights = _below_key(everything, key) or _below_key(inside, key)
    if (found := _known(weights)) is not None:
        used = {id(value) for value in found[0].values()}
        return FoundNetwork(*found, [name for name, v in everything.items() if id(v) not in used])
    choice = _choice(inside) or _choice(everything)
    if key is not None and not weights:
        alone = "its network has no name of its own, leave the key out."
        raise CheckpointError(f"{path}: no weights are called {key} in it; {choice or alone}")
    if choice:
        which = f"{key} alone is not a network" if key else "no network in the usual place"
        raise CheckpointError(f"{path}: {which}; {choice}")
    known = ", ".join(kind.name for kind in FORMATS)
    groups = [str(name) for name, value in place.items() if flat(value)] if key is None else []
    below = f" It holds weights under {', '.join(groups[:_SHOWN])}." if groups else ""
    raise CheckpointError(
        f"{path}: neither a checkpoint of a selfsup_motion run nor one of these: {known} (its "
        f"first weight is {next(iter(weights or everything))}).{below}"
    )


def weights_alone(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    """The weights in a file, whatever network they are of, without what wrappers add to names.

    Args:
        content: see `read_file`.
        key: see `find_network`.
        path: for messages.

    Raises:
        CheckpointError: there are none.
    """
    place = _usual_place(content)
    if key is None:
        weights = {str(name): v for name, v in place.items() if isinstance(v, Tensor)}
    else:
        key = key.strip(".")
        weights = _below_key(flat(content), key) or _below_key(flat(place), key)
    if not weights:
        where = "weights in the usual place" if key is None else f"weights called {key}"
        raise CheckpointError(f"{path}: there are no {where}.")
    return unwrapped(weights)


def _usual_place(content: Any) -> Mapping[str, Any]:
    """The innermost mapping that is reached through `state_dict`, `model` and the like."""
    while isinstance(content, Mapping) and not any(isinstance(v, Tensor) for v in content.values()):
        inner = next((content[k] for k in _PLACES if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content if isinstance(content, Mapping) else {}


def _below_key(weights: Weights, key: str) -> dict[str, Tensor]:
    """What is below a dotted name, without it; wrappers may be named or not."""
    for names in (dict(weights), unwrapped(weights)):
        if inside := below(f"{key}.", names):
            return inside
    return {}


def _known(weights: Weights) -> tuple[dict[str, Tensor], Format] | None:
    """The weights without what stands before all of their names, if they are of a known kind."""
    names = unwrapped(weights)
    while names:
        if (kind := recognise(names)) is not None:
            return names, kind
        first = {name.partition(".")[0] for name in names}
        if len(first) > 1 or not first <= {*_PLACES, *_ONLY}:
            break
        names = below(f"{first.pop()}.", names)
    return None


def _choice(weights: Weights) -> str:
    """Tells the networks among these, and how to name one; empty if there are none."""
    networks = _networks(unwrapped(weights))
    if not networks:
        return ""
    first = next(iter(networks))
    told = [f"{name} ({kind.name})" for name, kind in networks.items()]
    shown = ", ".join(told[:_SHOWN])
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return (
        f"the networks in it are {shown}{more}: choose one with checkpoint_key={first} on the "
        f'command line, or load_encoder(path, key="{first}").'
    )


def _networks(weights: Weights) -> dict[str, Format]:
    """Dotted names below which there is a network of a known kind, the outermost of each."""
    inside: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        parts = name.split(".")
        for count in range(1, len(parts)):
            prefix, rest = ".".join(parts[:count]), ".".join(parts[count:])
            inside.setdefault(prefix, {})[rest] = value
    found: dict[str, Format] = {}
    for prefix in sorted(inside, key=lambda prefix: prefix.count(".")):
        if any(prefix.startswith(f"{outer}.") for outer in found):
            continue
        if (known := _known(inside[prefix])) is not None:
            found[prefix] = known[1]
    return dict(sorted(found.items()))

"""Weights of a local file for a network of another library, whatever their names begin with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from selfsup_motion.errors import CheckpointError
from selfsup_motion.files.tensor_names import below, flat, unwrapped
from selfsup_motion.files.tensors import read_file

Weights = dict[str, Tensor]
Convert = Callable[[Weights], Mapping[str, Tensor]]
"""A library's own conversion of published names to those of its network."""

_FIRST = 3

log = logging.getLogger(__name__)


def load_into(
    network: nn.Module,
    path: str,
    key: str | None,
    name: str,
    convert: Convert | None = None,
) -> str:
    """Give a network the weights of a file that `torch.save` or safetensors wrote.

    The names in the file may begin with anything (`state_dict`, `teacher.backbone`, `module`): what
    comes before them is found by the network's own names. Every parameter must be in the file; of
    what else the file holds, heads and other networks are left out.

    Args:
        network: is changed in place.
        path: of the file.
        key: dotted name of what holds the weights, if the file has several such networks.
        name: of the network, for messages.
        convert: the library's own conversion of published names; used if the names do not fit.

    Returns:
        What was taken, and what was left out, for a person.

    Raises:
        CheckpointError: no such file, a damaged one, one with other weights, or several networks to
            choose from.
    """
    everything = unwrapped(flat(read_file(Path(path))))
    if not everything:
        raise CheckpointError(f"encoder.weights={path}: it has no weights.")
    wanted = network.state_dict()
    prefix = _prefix(everything, wanted, key, path, name)
    own = below(prefix, everything)
    fitting, wrong = own, _difference(own, wanted)
    if wrong and convert is not None and (converted := _converted(own, convert)) is not None:
        fitting = converted
        wrong = _difference(fitting, wanted)
    if wrong:
        shown = ", ".join(list(everything)[:_FIRST])
        raise CheckpointError(
            f"encoder.weights={path}: its weights are not those of {name}: {wrong}. The file "
            f"begins with {shown}."
        )
    network.load_state_dict({k: v for k, v in fitting.items() if k in wanted}, strict=False)
    taken = {id(value) for k, value in own.items() if k in wanted}
    others = [k for k, v in everything.items() if id(v) not in taken] if fitting is own else []
    report = f"{path}: {len(fitting.keys() & wanted.keys())} tensors for {name}"
    if others:
        counts = Counter(k.partition(".")[0] for k in others)
        report += "; left out: " + ", ".join(f"{k} ({n})" for k, n in sorted(counts.items()))
    log.info("%s", report)
    return report


def _prefix(
    weights: Weights, wanted: Mapping[str, Tensor], key: str | None, path: str, name: str
) -> str:
    """What stands before the network's names: with which most of them are there."""
    start = "" if key is None else key.strip(".") + "."
    inside = [k for k in weights if k.startswith(start)]
    if not inside:
        raise CheckpointError(
            f"encoder.weights={path}: no weights are called {key} in it; it begins with "
            f"{', '.join(list(weights)[:_FIRST])}."
        )
    found: Counter[str] = Counter()
    for full in inside:
        parts = full.removeprefix(start).split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                found[start + "".join(f"{part}." for part in parts[:cut])] += 1
    if not found:
        return start
    most = found.most_common(1)[0][1]
    best = sorted(prefix for prefix, count in found.items() if count == most)
    if len(best) > 1 and most > 1:
        keys = [prefix.rstrip(".") for prefix in best]
        raise CheckpointError(
            f"encoder.weights={path}: {name} could be each of {', '.join(keys)} in it: choose one "
            f"with encoder.weights_key={keys[0]}."
        )
    return best[0]


def _converted(own: Weights, convert: Convert) -> Weights | None:
    """The library's own names; None if it cannot read these, or changes more than positions."""
    try:
        converted = dict(convert(dict(own)))
    except Exception:  # whatever a conversion stumbles over in a file that is not its own
        return None
    changed = [
        k
        for k, v in converted.items()
        if k in own and v.shape != own[k].shape and v.numel() != own[k].numel()
    ]
    return None if any("pos" not in k and "rel" not in k for k in changed) else converted


def _difference(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """How weights differ from those that are wanted; empty if they fit.

    Counters and tables of indices may be missing. What is below a part that the network has must be
    its own, and what is below others is not asked for.
    """
    parts = {k.partition(".")[0] for k in wanted}
    missing = [k for k, v in wanted.items() if k not in weights and v.is_floating_point()]
    unknown = [k for k in weights if k not in wanted and "." in k and k.partition(".")[0] in parts]
    shapes = [
        f"{k} {tuple(weights[k].shape)} instead of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in weights and weights[k].shape != v.shape
    ]
    told = (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
    return "; ".join(
        f"{what} {', '.join(names[:_FIRST])}"
        f"{f' and {len(names) - _FIRST} more' if len(names) > _FIRST else ''}"
        for what, names in told
        if names
    )

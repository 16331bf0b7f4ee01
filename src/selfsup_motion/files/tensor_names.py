"""Names of tensors in files, without what wrappers of PyTorch put before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# what data parallelism, compilation, sharding and checkpointed activations add, at any depth
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


def flat(content: Any, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of nested mappings by their dotted names."""
    found: dict[str, Tensor] = {}
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            else:
                found |= flat(value, f"{prefix}{name}.")
    return found


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what PyTorch's wrappers add; as they are if two would become one."""
    names = {
        name: ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        for name in weights
        if name != _COUNTER
    }
    if len(set(names.values())) < len(names) or "" in names.values():
        return dict(weights)
    return {new: weights[name] for name, new in names.items()}


def below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin so, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}

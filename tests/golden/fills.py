"""Numbers that golden files were made with: an integer hash, no generator."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def hashed(count: int, salt: int) -> np.ndarray:
    """(count,) float64 in [0, 1): a hash of the index and a salt."""
    mask = np.uint64(0xFFFFFFFF)
    k = np.arange(count, dtype=np.uint64)
    x = (k * np.uint64(2654435761) + np.uint64(salt) * np.uint64(40503) + np.uint64(12345)) & mask
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & mask
    return (x ^ (x >> np.uint64(16))).astype(np.float64) / 2**32


def filled(shape: tuple[int, ...], salt: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """A float32 tensor of hashed numbers between two bounds."""
    values = low + (high - low) * hashed(math.prod(shape), salt).reshape(shape)
    return torch.from_numpy(values.astype(np.float32))


def filled_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network of convolutions and batch normalisations; the order is part of the rule.

    Args:
        state: its own, whose names and shapes count.
    """
    weights = {}
    names = [name for name in state if "num_batches" not in name]
    for salt, name in enumerate(names):
        shape = tuple(state[name].shape)
        if len(shape) == 4:
            bound = math.sqrt(6 / math.prod(shape[1:]))
            weights[name] = filled(shape, salt, -bound, bound)
        elif name.endswith(("running_var", "weight")):
            weights[name] = filled(shape, salt, 0.5, 1.5)
        else:
            weights[name] = filled(shape, salt, -0.2, 0.2)
    return weights

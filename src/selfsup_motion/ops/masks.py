"""What operators ask of masks, labels and weights.

Types and shapes only, so that nothing has to wait for a GPU: values are not looked at. The expected
shape is taken from `shape`, not `len`: that would be a constant in an exported program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Values = Tensor | NDArray[Any]


def check_mask(name: str, mask: Values, shape: Sequence[int]) -> None:
    """Refuse a mask that would be misread: 255 would count 255 times, another shape broadcast.

    Args:
        name: of the argument, for the message.
        mask: must be bool.
        shape: that it must have.

    Raises:
        ValueError: another type or shape.
    """
    if mask.dtype not in (torch.bool, np.bool_):
        raise ValueError(
            f"{_mismatch(name, 'bool', mask, shape)}; `{name} != 0` makes a mask of it"
        )
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(_mismatch(name, "bool", mask, shape))


def check_labels(name: str, labels: Tensor, shape: Sequence[int]) -> None:
    """Refuse labels that are not int64 or of another shape; arguments and errors as above."""
    if labels.dtype != torch.int64 or tuple(labels.shape) != tuple(shape):
        raise ValueError(_mismatch(name, "int64", labels, shape))


def check_weight(name: str, weight: Values, shape: Sequence[int]) -> None:
    """Refuse weights that are not floating point or of another shape; likewise."""
    is_float = (
        weight.is_floating_point()
        if isinstance(weight, Tensor)
        else np.issubdtype(weight.dtype, np.floating)
    )
    if not is_float or tuple(weight.shape) != tuple(shape):
        raise ValueError(_mismatch(name, "floating point", weight, shape))


def _mismatch(name: str, kind: str, given: Values, shape: Sequence[int]) -> str:
    return f"{name} must be {kind} {tuple(shape)}, got {given.dtype} {tuple(given.shape)}"

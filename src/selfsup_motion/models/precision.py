"""Networks that somebody has turned into half precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def own_precision(module: nn.Module) -> AbstractContextManager[object]:
    """Where a network of 16-bit weights (after `.half()`, `.to(torch.bfloat16)`) computes in their
    type whatever its inputs have; any other network as ever.

    So positions in pixels stay float32, in which they are exact, and only what meets the weights is
    of 16 bits.
    """
    parameter = next(module.parameters(), None)
    if parameter is None or parameter.dtype not in (torch.float16, torch.bfloat16):
        return nullcontext()
    return torch.autocast(parameter.device.type, parameter.dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type for inputs of a network: its own, but at least float32."""
    return torch.promote_types(dtype, torch.float32)

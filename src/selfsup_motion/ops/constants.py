"""Numbers that the host knows, where a step needs them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def constant_like(values: Any, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A small tensor of known numbers beside another one.

    `torch.tensor(values, device="cuda")`, `new_tensor` and a plain `.to("cuda")` wait until the
    device has done everything that was asked of it before. This copy queues up instead.

    Args:
        values: numbers, nested lists of them, an array, or a tensor on the CPU.
        like: the result is on its device.
        dtype: of the result; None: that of `like`.
    """
    made = torch.as_tensor(values, dtype=dtype or like.dtype)
    return made.to(like.device, non_blocking=True)

"""The smallest value so far along an axis."""

from __future__ import annotations

import torch
from torch import Tensor


def running_min(x: Tensor, dim: int) -> Tensor:
    """The values of `x.cummin(dim)`, without its indices.

    log2(n) shifted minima: on a CPU ten times faster than `cummin`, which works along one line at
    a time, and made of what ONNX knows. On a GPU that would be two passes over memory for each of
    them, and `cummin` is one, of all lines at once.
    """
    if x.device.type == "cuda":
        return x.cummin(dim).values
    size, shift = x.shape[dim], 1
    while shift < size:
        rest = size - shift
        lower = torch.minimum(x.narrow(dim, shift, rest), x.narrow(dim, 0, rest))
        x = torch.cat([x.narrow(dim, 0, shift), lower], dim)
        shift *= 2
    return x

"""What a method has to know about the other processes."""

from typing import TypeVar

import torch
from torch import Tensor

_Item = TypeVar("_Item")


def rank_weight(count: Tensor) -> Tensor:
    """This rank's share of what all ranks count, times the number of ranks.

    Distributed training averages the ranks' gradients. A loss that is a mean over some of the
    pixels, say the valid ones, times this weight becomes their mean over all ranks: the same as in
    one process with the whole batch.

    Args:
        count: () what this rank's mean is over; no gradient.

    Returns:
        () float32: 1 in a single process.
    """
    own = count.detach().to(torch.float32)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return torch.ones_like(own)
    mean = own.clone()
    torch.distributed.all_reduce(mean)
    mean /= torch.distributed.get_world_size()
    return own / mean.clamp(min=1e-12)


def gathered(items: list[_Item]) -> list[_Item]:
    """The items of all processes, those of the first one first; plain values, no tensors.

    Called by all of them. In a single process, the items themselves.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    parts: list[list[_Item]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]

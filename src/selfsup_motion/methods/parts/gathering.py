"""Comparing samples with those of the other ranks, with gradients."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor


def gather_rows(x: Tensor) -> Tensor:
    """(B, …) of this rank → (ranks · B, …) of all, rank by rank; the same B everywhere.

    Gradients flow back to the rank that a row comes from: the sum over the ranks that used it. DDP
    divides by the number of ranks, so that losses which are means over a rank's samples have the
    gradient of the mean over all.
    """
    if not several_ranks():
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def gather_in_order(x: Tensor) -> Tensor:
    """As `gather_rows`, but in the order that one process would see the samples in.

    The ranks of a training step have every so many-th sample of its batch (`ClipDataModule`).
    """
    if not several_ranks():
        return x
    ranks = torch.distributed.get_world_size()
    return torch.unflatten(gather_rows(x), 0, (ranks, len(x))).transpose(0, 1).flatten(0, 1)


def own_rows(count: int, device: torch.device) -> Tensor:
    """Where this rank's rows are among the gathered ones: (count,) int64."""
    rank = torch.distributed.get_rank() if several_ranks() else 0
    return rank * count + torch.arange(count, device=device)


def several_ranks() -> bool:
    """Whether there are other processes."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


class _Gather(torch.autograd.Function):
    """all_gather whose gradient is the sum over ranks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous()
        torch.distributed.all_reduce(total)
        return total.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]

"""A queue of earlier keys, which others are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup_motion.errors import UserError


class KeyQueue(nn.Module):
    """The last `size` keys, in the order in which they came; part of the checkpoint.

    It grows until it is full; then the oldest ones are replaced. Any size works, not only multiples
    of what comes at a time.
    """

    def __init__(self, size: int, dim: int) -> None:
        """Make an empty queue.

        Args:
            size: most keys that it holds.
            dim: of a key.

        Raises:
            UserError: a size below 1.
        """
        super().__init__()
        if size < 1:
            raise UserError(f"method.queue must be at least 1, got {size}.")
        self.size = size
        self.register_buffer("memory", torch.zeros(size, dim))
        # how many keys have come; a number on the CPU would not be moved by a checkpoint
        self.register_buffer("came", torch.zeros((), dtype=torch.int64))
        self._count = 0

    @property
    def keys(self) -> Tensor:
        """(K, dim) float32 keys, K ≤ size; after `size` of them in the order of the memory."""
        return self.get_buffer("memory")[: min(self._count, self.size)]

    @staticmethod
    def names(attribute: str) -> list[str]:
        """Names of what it holds in a module that has it as an attribute.

        For `_ddp_params_and_buffers_to_ignore`: DDP would send the memory to all processes at every
        step, which all have the same one anyway.
        """
        return [f"{attribute}.memory", f"{attribute}.came"]

    @torch.no_grad()
    def add(self, keys: Tensor) -> None:
        """Put (N, dim) keys behind the others; with several processes, all add the same ones.

        Raises:
            UserError: more keys at a time than the queue holds.
        """
        count = len(keys)
        if count > self.size:
            raise UserError(
                f"method.queue={self.size} is too small for the {count} keys of a step (samples of "
                "all devices × clips): enlarge it or lower data.batch_size."
            )
        memory = self.get_buffer("memory")
        place = torch.arange(self._count, self._count + count, device=memory.device) % self.size
        memory[place] = keys.to(memory.dtype)
        self._count += count
        self.get_buffer("came").fill_(self._count)

    def _load_from_state_dict(self, *args: object, **options: object) -> None:
        super()._load_from_state_dict(*args, **options)
        self._count = int(self.get_buffer("came"))

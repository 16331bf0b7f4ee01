"""The order of batches, and the loaders that deliver them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from selfsup_motion.data.loading.reader import (
    Batch,
    ClipReader,
    Delivery,
    Draw,
    as_in_a_worker,
    prepare_worker,
)
from selfsup_motion.data.loading.rng import ORDER_STREAM, sample_rng
from selfsup_motion.errors import BadFilesError

log = logging.getLogger(__name__)

_T = TypeVar("_T")

Receive = Callable[[Delivery], None]
"""Takes note of what a worker reported; raises what kept it from making the batch."""


class TrainOrder:
    """An endless sequence of global batches, each epoch a new permutation of all samples.

    Global batch b of an epoch is positions [b·B, (b+1)·B) of the permutation drawn from
    (seed, epoch); the samples left over at its end wait for another epoch. Rank r of R takes
    every R-th sample of the global batch, beginning with the r-th, so that the global batches are
    the same for any R that divides B. A batch that is delivered in P parts, whose gradients are
    accumulated, is cut into P of equal size first.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        parts: int = 1,
        cycle: int | None = None,
        blocks: tuple[NDArray[np.int64], int] | None = None,
    ) -> None:
        """Describe the order.

        Args:
            num_samples: samples of an epoch.
            batch_size: B, over all ranks.
            seed: of the permutations.
            rank: r, whose share is delivered.
            world_size: R.
            parts: P; positions count parts.
            cycle: repeat the first `cycle` batches of the first epoch for ever (to overfit them).
            blocks: (num_samples,) block of each sample, and how many blocks are mixed at a time:
                a few that are drawn at random, then the next few. None mixes all samples.
        """
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.parts = parts
        self.cycle = cycle
        self.blocks = blocks
        self._permutation: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self.num_samples // self.batch_size * self.parts

    def batch(self, position: int) -> list[Draw]:
        """Return this rank's samples of batch or part `position`, counted from the first epoch."""
        if self.cycle is not None:
            position %= self.cycle
        epoch, number = divmod(position, len(self))
        if self._permutation is None or self._permutation[0] != epoch:
            self._permutation = epoch, self._permute(epoch)
        size = self.batch_size // self.parts
        mine = slice(number * size + self.rank, (number + 1) * size, self.world_size)
        return [(epoch, int(index)) for index in self._permutation[1][mine]]

    def _permute(self, epoch: int) -> NDArray[np.int64]:
        rng = sample_rng(self.seed, epoch, 0, ORDER_STREAM)
        samples = rng.permutation(self.num_samples)
        if self.blocks is None:
            return samples
        block, mixed = self.blocks
        turn = rng.permutation(int(block.max()) + 1) // mixed
        return samples[np.argsort(turn[block[samples]], kind="stable")]

    def starting_at(self, position: int) -> Iterator[list[Draw]]:
        """Yield the batches from global batch `position` on, without end."""
        while True:
            yield self.batch(position)
            position += 1


class ValOrder:
    """Every sample once, in order, in global batches of equal size (± 1).

    All ranks get the same number of batches, none of them empty, which collectives inside a
    validation step need; no sample is repeated to fill them.
    """

    def __init__(
        self, num_samples: int, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        """Describe the order.

        Args:
            num_samples: at least `world_size`.
            batch_size: over all ranks; a batch may exceed it by less than `world_size`.
            rank: whose share is delivered.
            world_size: number of ranks.
        """
        self.num_samples = num_samples
        self.rank = rank
        self.world_size = world_size
        self._batches = min(-(-num_samples // batch_size), num_samples // world_size)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[Draw]]:
        for number in range(self._batches):
            first = number * self.num_samples // self._batches
            last = (number + 1) * self.num_samples // self._batches
            yield [(0, index) for index in range(first + self.rank, last, self.world_size)]


class _Workers:
    """The PyTorch loader underneath: it fetches a `Delivery` for each list of draws, in order."""

    def __init__(
        self, reader: ClipReader, num_workers: int, prefetch_factor: int, pin_memory: bool
    ) -> None:
        self._reader = reader
        self._options: dict[str, Any] = {
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "worker_init_fn": prepare_worker,
            "persistent_workers": num_workers > 0,  # those of one validation serve the next
        }
        if num_workers > 0:
            self._options["prefetch_factor"] = prefetch_factor
        self._loader: DataLoader[Delivery] | None = None
        self._running: Iterator[Delivery] | None = None

    def fetch(self, draws: Iterable[list[Draw]]) -> Iterator[Delivery]:
        """Begin with new draws, in new processes."""
        self.close()
        self._loader = DataLoader(
            self._reader,  # type: ignore[arg-type]  # it has __getitems__, all that is called
            batch_sampler=draws,
            collate_fn=_as_delivered,
            **self._options,
        )
        return self.fetch_again()

    def fetch_again(self) -> Iterator[Delivery]:
        """Begin again with the same draws, in the same processes."""
        assert self._loader is not None
        self._running = iter(self._loader)
        return self._running

    def close(self) -> None:
        """End the processes."""
        # PyTorch offers no other way: left to the garbage collector, each takes five seconds
        end = getattr(self._running, "_shutdown_workers", None)
        if end is not None:
            end()
        self._running = self._loader = None


class TrainLoader:
    """Delivers the batches of `order` from wherever training stands, one epoch per `iter`.

    Where training stands is asked of `progress` at every `iter`, and nowhere stored: a resumed run
    continues behind the last batch its trainer has processed, also in mid-epoch. The workers go on
    fetching across epochs.
    """

    def __init__(
        self,
        reader: ClipReader,
        order: TrainOrder,
        receive: Receive,
        *,
        progress: Callable[[], int] | None = None,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            reader: makes the batches.
            order: of the samples.
            receive: sees every delivery in this process.
            progress: number of batches that training has processed since its very beginning; by
                default, the number delivered.
            num_workers: processes that read; 0 reads in this one.
            prefetch_factor: batches that each worker prepares ahead.
            pin_memory: deliver in page-locked memory.
        """
        self.order = order
        self._receive = receive
        self._progress = progress
        self._workers = _Workers(reader, num_workers, prefetch_factor, pin_memory)
        self.wait_seconds = 0.0
        """Time that training has waited for batches."""
        self._stream: Iterator[Delivery] | None = None
        self._position = 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        start = self._position if self._progress is None else self._progress()
        if self._stream is None or start != self._position:
            self._position = start
            self._stream = self._workers.fetch(_StartingAt(self.order, start))
        stream = self._stream
        for _ in range(len(self)):
            since = time.perf_counter()
            delivery = next(stream)
            self.wait_seconds += time.perf_counter() - since
            self._position += 1
            self._receive(delivery)
            assert delivery.batch is not None  # training replaces what it cannot read
            yield delivery.batch

    def close(self) -> None:
        """Stop the workers; the next `iter` starts new ones."""
        self._stream = None
        self._workers.close()

    def state_dict(self) -> dict[str, int]:
        """What the order depends on (the position is the trainer's to keep)."""
        return {
            "seed": self.order.seed,
            "batch_size": self.order.batch_size,
            "num_samples": self.order.num_samples,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Compare with the run that is being resumed, and say what differs."""
        changed = [
            f"{name} {state[name]} → {value}"
            for name, value in self.state_dict().items()
            if state.get(name, value) != value
        ]
        if changed:
            log.warning(
                "The resumed run gets other batches than the interrupted run would have: %s.",
                ", ".join(changed),
            )


class ValLoader:
    """Delivers every readable sample of `order` once per `iter`; arguments as for `TrainLoader`.

    Every rank gets the same number of batches, none of them empty: collectives inside a validation
    step would wait for ever for a rank that has nothing to do.
    """

    def __init__(
        self,
        reader: ClipReader,
        order: ValOrder,
        receive: Receive,
        *,
        everyone: Callable[[bool], bool] = lambda here: here,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self.order = order
        self.left_out = 0
        """Samples that the last pass could not read, of all ranks."""
        self._reader = reader
        self._receive = receive
        self._everyone = everyone
        self._pin_memory = pin_memory
        self._workers = _Workers(reader, num_workers, prefetch_factor, pin_memory)
        self._started = False

    def __len__(self) -> int:
        """Batches of a pass, if all can be read; else there may be fewer."""
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        deliveries = (
            self._workers.fetch_again() if self._started else self._workers.fetch(self.order)
        )
        self._started = True
        return self._batches(deliveries)

    def close(self) -> None:
        """Stop the workers; the next `iter` starts new ones."""
        self._started = False
        self._workers.close()

    def _batches(self, deliveries: Iterable[Delivery]) -> Iterator[Batch]:
        """The batches, one kept back until it is known that others follow.

        Where a rank could read nothing of its share of a global batch, what is left of that batch
        is dealt anew. If that is fewer samples than ranks, they wait for the next global batch, or
        at the end join the last one.
        """
        held: Delivery | None = None
        waiting: list[Draw] = []
        count = 0
        for delivery in deliveries:
            self._receive(delivery)
            if waiting or not self._everyone(bool(delivery.draws)):
                waiting = sorted(chain(waiting, *self._gathered(delivery.draws)))
                if len(waiting) < self.order.world_size:
                    continue
                delivery = self._share(waiting, delivery)
                waiting = []
            if held is not None:
                assert held.batch is not None
                count += len(held.draws)
                yield held.batch
            held = delivery
        if held is None:
            total, ranks = self.order.num_samples, self.order.world_size
            raise BadFilesError(
                f"Only {len(waiting)} of the {total} validation clips can be read, fewer than the "
                f"{ranks} devices."
                if waiting
                else f"None of the {total} validation clips can be read."
            )
        if waiting:
            held = self._share(sorted(chain(waiting, *self._gathered(held.draws))), held)
        # before the last batch: Lightning may not ask for what follows it
        self._account(count + len(held.draws))
        assert held.batch is not None
        yield held.batch

    def _account(self, count: int) -> None:
        """Tell how many samples are missing, given how many this rank has."""
        left_out = self.order.num_samples - sum(self._gathered(count))
        if left_out and left_out != self.left_out and self.order.rank == 0:
            log.warning(
                "Validation leaves out %d of %d clips, which cannot be read.",
                left_out, self.order.num_samples,
            )  # fmt: skip
        self.left_out = left_out

    def _share(self, draws: list[Draw], own: Delivery) -> Delivery:
        """This rank's share of samples that are known to be readable."""
        mine = draws[self.order.rank :: self.order.world_size]
        if mine == own.draws:
            return own
        with as_in_a_worker():
            delivery = self._reader.__getitems__(mine)
        self._receive(delivery)
        if delivery.draws != mine:
            raise BadFilesError(
                "A validation clip could be read on one device and not on another (see the "
                "warnings): is the storage overloaded?"
            )
        return delivery.pin_memory() if self._pin_memory else delivery

    def _gathered(self, own: _T) -> list[_T]:
        """What each rank has, by rank."""
        if self.order.world_size == 1:
            return [own]
        parts = [own] * self.order.world_size
        torch.distributed.all_gather_object(parts, own)
        return parts


class _StartingAt:
    """`order` from a position on, as the iterable that a PyTorch loader wants."""

    def __init__(self, order: TrainOrder, position: int) -> None:
        self._order = order
        self._start = position

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._order.starting_at(self._start)


def _as_delivered(delivery: Any) -> Any:
    return delivery  # `__getitems__` has made the batch; without this PyTorch would collate again

"""The order of batches, for any number of samples, batch size and ranks."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selfsup_motion.data.loading.loader import TrainOrder, ValOrder


@given(
    num_samples=st.integers(1, 60),
    local_batch=st.integers(1, 5),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_ranks_partition_global_batches_and_epochs_are_permutations(
    num_samples: int, local_batch: int, world_size: int, seed: int, epoch: int
) -> None:
    batch_size = local_batch * world_size
    num_samples = max(num_samples, batch_size)
    whole = TrainOrder(num_samples, batch_size, seed)
    parts = [
        TrainOrder(num_samples, batch_size, seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    seen = []
    for position in range(epoch * len(whole), (epoch + 1) * len(whole)):
        batch = whole.batch(position)
        for rank, part in enumerate(parts):
            assert part.batch(position) == batch[rank::world_size]
            assert len(part.batch(position)) == local_batch
        seen += batch
    assert {drawn_in for drawn_in, _ in seen} == {epoch}
    assert len({index for _, index in seen}) == len(seen) > num_samples - batch_size


@given(num_samples=st.integers(24, 60), parts=st.integers(1, 4), world_size=st.integers(1, 3))
def test_accumulated_parts_are_the_whole_batch(
    num_samples: int, parts: int, world_size: int
) -> None:
    batch_size = 2 * parts * world_size
    whole = TrainOrder(num_samples, batch_size, 0)
    ranks = [
        TrainOrder(num_samples, batch_size, 0, rank=rank, world_size=world_size, parts=parts)
        for rank in range(world_size)
    ]
    for position in range(len(whole) + 1):
        cut = [
            draw
            for part in range(position * parts, (position + 1) * parts)
            for draws in zip(*(rank.batch(part) for rank in ranks), strict=True)
            for draw in draws
        ]
        assert cut == whole.batch(position)


def test_epochs_and_seeds_have_their_own_orders() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        batches = TrainOrder(40, 40, seed)
        return tuple(index for _, index in batches.batch(epoch))

    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


@given(
    num_samples=st.integers(1, 200),
    batch_size=st.integers(1, 20),
    world_size=st.integers(1, 4),
)
def test_validation_visits_every_sample_once_with_equally_many_batches_per_rank(
    num_samples: int, batch_size: int, world_size: int
) -> None:
    num_samples = max(num_samples, world_size)
    ranks = [
        list(ValOrder(num_samples, batch_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    assert all(batch for batches in ranks for batch in batches)
    visited = [index for _, index in chain.from_iterable(chain.from_iterable(ranks))]
    assert sorted(visited) == list(range(num_samples))
    sizes = [sum(map(len, batch)) for batch in zip(*ranks, strict=True)]
    assert max(sizes) < max(batch_size, world_size) + world_size


@given(
    blocks=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    mixed=st.integers(1, 4),
    epoch=st.integers(0, 2),
)
def test_blocks_are_visited_a_few_at_a_time(blocks: list[int], mixed: int, epoch: int) -> None:
    order = TrainOrder(len(blocks), 1, 0, blocks=(np.array(blocks), mixed))
    samples = [order.batch(epoch * len(blocks) + i)[0][1] for i in range(len(blocks))]

    assert sorted(samples) == list(range(len(blocks)))
    last_visit = {blocks[sample]: place for place, sample in enumerate(samples)}
    first_visit = {blocks[sample]: -place for place, sample in reversed([*enumerate(samples)])}
    for place in range(len(blocks)):
        opened = [b for b in last_visit if -first_visit[b] <= place <= last_visit[b]]
        assert len(opened) <= mixed

from __future__ import annotations

import heapq

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.ops.geodesic import geodesic_distance
from selfsup_motion.ops.running_min import running_min


def dijkstra(image: np.ndarray, source: tuple[int, int], step: float) -> np.ndarray:
    """The exact distance."""
    _, height, width = image.shape
    best = np.full((height, width), np.inf)
    best[source] = 0
    queue = [(0.0, source)]
    while queue:
        cost, (y, x) = heapq.heappop(queue)
        if cost > best[y, x]:
            continue
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            b, a = y + dy, x + dx
            if 0 <= b < height and 0 <= a < width:
                far = cost + step + float(np.linalg.norm(image[:, b, a] - image[:, y, x]))
                if far < best[b, a]:
                    best[b, a] = far
                    heapq.heappush(queue, (far, (b, a)))
    return best


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_many_sweeps_find_the_cheapest_path(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 3, (3, 9, 11)).astype(np.float32)
    source = int(rng.integers(9)), int(rng.integers(11))
    sources = torch.zeros(1, 1, 9, 11, dtype=torch.bool)
    sources[0, 0][source] = True
    found = geodesic_distance(torch.from_numpy(image)[None], sources, step=0.2, sweeps=20)
    np.testing.assert_allclose(found[0, 0], dijkstra(image, source, 0.2), rtol=1e-4, atol=1e-3)


def test_few_sweeps_are_an_upper_bound() -> None:
    image = torch.rand(1, 3, 24, 24)
    sources = torch.zeros(1, 2, 24, 24, dtype=torch.bool)
    sources[0, 0, 3, 4] = sources[0, 1, 20, 20] = True
    few, many = (geodesic_distance(image, sources, step=0.2, sweeps=n) for n in (1, 20))
    assert (few >= many - 1e-4).all()


def test_along_one_colour_it_is_the_number_of_steps() -> None:
    sources = torch.zeros(1, 1, 5, 7, dtype=torch.bool)
    sources[0, 0, 2, 3] = True
    found = geodesic_distance(torch.zeros(1, 3, 5, 7), sources, step=0.5)
    assert found[0, 0, 0, 0] == pytest.approx(0.5 * 5)


def test_without_a_source_everything_is_far() -> None:
    found = geodesic_distance(torch.rand(1, 3, 5, 7), torch.zeros(1, 1, 5, 7).bool(), step=0.2)
    assert (found > 9000).all()


@pytest.mark.parametrize("dim", [-1, 2])
@pytest.mark.parametrize("size", [1, 5, 16, 33])
def test_running_minimum_is_that_of_cummin(dim, size):
    x = torch.randn(2, 3, size, size + 2)
    assert torch.equal(running_min(x, dim), x.cummin(dim).values)

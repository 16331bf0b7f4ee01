from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfsup_motion.ops.flow import end_point_error
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation

SIZE = (25, 34)


def scene(seed: int, count: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random image (2, 3, H, W), points, vectors and mask with two padding entries."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (2, 3, *SIZE), generator=generator, dtype=torch.uint8)
    cells = torch.stack([torch.randperm(SIZE[0] * SIZE[1], generator=generator) for _ in range(2)])
    cells = cells[:, : count + 2]
    points = torch.stack([cells % SIZE[1], cells // SIZE[1]], -1).float()
    vectors = 5 * torch.randn(2, count + 2, 2, generator=generator)
    mask = torch.arange(count + 2).expand(2, -1) < count
    return image, points, vectors, mask


def interpolate(name: str, image, points, vectors, mask) -> Tensor:
    if name == "nearest":
        return nearest_interpolation(points, vectors, mask, SIZE)
    return edge_aware_interpolation(image, points, vectors, mask)


@pytest.mark.parametrize("name", ["nearest", "edge_aware"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 12))
def test_interpolation_is_sound(name, seed, count):
    image, points, vectors, mask = scene(seed, count)
    flow = interpolate(name, image, points, vectors, mask)
    assert flow.shape == (2, 2, *SIZE)

    for item in range(2):  # guided pixels keep their vector
        x, y = points[item, :count].long().T
        torch.testing.assert_close(flow[item, :, y, x].T, vectors[item, :count])
        low, high = vectors[item, :count].aminmax(dim=0)
        assert (low - 1e-4 <= flow[item].flatten(1).T).all()
        assert (high + 1e-4 >= flow[item].flatten(1).T).all()

    spoiled_points, spoiled_vectors = points.clone(), vectors.clone()
    spoiled_points[~mask] = torch.nan
    spoiled_vectors[~mask] = torch.nan
    again = interpolate(name, image, spoiled_points, spoiled_vectors, mask)
    torch.testing.assert_close(again, flow)

    order = torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(seed))
    shuffled = interpolate(name, image, points[:, order], vectors[:, order], mask[:, order])
    if name == "edge_aware":  # the nearest point may be a tie
        torch.testing.assert_close(shuffled, flow, atol=1e-4, rtol=1e-4)

    constant = torch.tensor([3.0, -2.0]).expand_as(vectors).contiguous()
    expected = constant[0, 0].view(1, 2, 1, 1).expand_as(flow)
    torch.testing.assert_close(interpolate(name, image, points, constant, mask), expected)


@pytest.mark.parametrize("name", ["nearest", "edge_aware"])
def test_an_item_without_points_stands_still(name):
    image, points, vectors, mask = scene(0)
    mask[1] = False
    flow = interpolate(name, image, points, vectors, mask)
    assert flow[0].any()
    assert not flow[1].any()


def test_nearest_is_nearest():
    points = torch.tensor([[[2.0, 3.0], [30.0, 20.0]]])
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    flow = nearest_interpolation(points, vectors, torch.ones(1, 2, dtype=torch.bool), SIZE)
    assert flow[0, :, 5, 6].tolist() == [1, 0]
    assert flow[0, :, 18, 25].tolist() == [0, 2]


def test_bytes_in_floating_point_are_refused():
    image, points, vectors, mask = scene(0)
    with pytest.raises(ValueError, match=r"images in \[0, 1\], got values up to 2"):
        edge_aware_interpolation(image.float(), points, vectors, mask)


def test_edges_of_the_image_stop_the_motion():
    """A square far wider than the distance to its guidance point moves as a whole, alone."""
    image = torch.full((1, 3, 64, 64), 0.2)
    image[:, 0, 8:40, 8:56] = 0.7
    inside = image[:, 0] > 0.5
    flow = torch.where(inside.unsqueeze(1), torch.tensor([6.0, 2.0]).view(1, 2, 1, 1), 0.0)
    points = torch.tensor([[[12.0, 12.0], [60.0, 10.0], [30.0, 44.0], [4.0, 60.0]]])
    vectors = torch.tensor([[[6.0, 2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    aware = end_point_error(edge_aware_interpolation(image, points, vectors, mask), flow)
    nearest = end_point_error(nearest_interpolation(points, vectors, mask, (64, 64)), flow)
    assert aware < 0.25
    assert nearest > 4 * aware

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.ops.guidance import (
    motion_edge_peaks,
    rasterize_guidance,
    sample_guidance,
    thin_points,
)

SIZE = (60, 80)
OPTIONS = {"grid_ratio": 1 / 400, "nms_size": 15}
GRID_POINTS = 12  # 60x80 at stride 20


def moving_disc(size: tuple[int, int] = SIZE) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (y - 30) ** 2 + (x - 40) ** 2 < 15**2
    return np.where(inside, np.array([6.0, -3.0])[:, None, None], 0.0).astype(np.float32)


def sample(flow, strategies=("grid", "watershed"), seed=0, **options):
    rng = np.random.default_rng(seed)
    return sample_guidance(flow, strategies, rng=rng, **(OPTIONS | options))


def degenerate_flows() -> dict[str, np.ndarray]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    return {
        "zero": np.stack([0 * x, 0 * y]),
        "constant": np.stack([0 * x + 3, 0 * y - 7]),
        "zoom": np.stack([0.1 * x, 0.1 * y]),
        "rotation": np.stack([-0.1 * y, 0.1 * x]),
    }


@pytest.mark.parametrize("name", degenerate_flows())
def test_fields_without_motion_edges_have_no_watershed_points(name):
    flow = degenerate_flows()[name]
    _, mask, points = sample(flow, ["watershed"])
    assert points.shape == (0, 2)
    assert not mask.any()
    assert len(sample(flow)[2]) == GRID_POINTS


def test_a_still_field_has_no_moving_point():
    assert sample(degenerate_flows()["zero"], ["single"])[2].shape == (0, 2)
    assert sample(degenerate_flows()["zero"], ["gradnms"])[2].shape == (0, 2)


def test_the_middle_of_a_moving_disc_is_a_watershed_point():
    _, _, points = sample(moving_disc(), ["watershed"])
    assert np.linalg.norm(points - (40, 30), axis=1).min() <= 2


def test_arrays_agree_with_each_other():
    flow = moving_disc() + 1
    sparse, mask, points = sample(flow, ["grid", "watershed", "uniform", "single"])
    assert (sparse.dtype, mask.dtype, points.dtype) == (np.float32, np.bool_, np.int64)
    assert (sparse.shape, mask.shape) == ((2, *SIZE), (1, *SIZE))
    assert mask.sum() == len(points) == len(np.unique(points, axis=0))
    assert mask[0, points[:, 1], points[:, 0]].all()
    np.testing.assert_array_equal(sparse, np.where(mask, flow, 0))


def test_the_same_generator_gives_the_same_points():
    flow = moving_disc()
    strategies = ["grid", "watershed", "uniform", "single"]
    np.testing.assert_array_equal(
        sample(flow, strategies, seed=3)[2], sample(flow, strategies, seed=3)[2]
    )
    assert not np.array_equal(sample(flow, seed=3)[2], sample(flow, seed=4)[2])  # order


def test_max_points_keeps_a_random_subset():
    every = {tuple(p) for p in sample(moving_disc())[2]}
    subsets = [{tuple(p) for p in sample(moving_disc(), seed=s, max_points=5)[2]} for s in (0, 1)]
    assert all(len(s) == 5 and s <= every for s in subsets)
    assert subsets[0] != subsets[1]


def test_points_on_invalid_flow_are_dropped():
    flow = moving_disc()
    valid = np.ones(SIZE, bool)
    valid[:, 40:] = False
    flow[:, ~valid] = np.nan
    sparse, _, points = sample(flow, flow_valid=valid)
    assert len(points) > 0
    assert (points[:, 0] < 40).all()
    assert np.isfinite(sparse).all()


def test_specified_points_are_used_as_they_are():
    wanted = np.array([[3, 4], [79, 59], [3, 4]])
    _, _, points = sample(moving_disc(), ["specified"], guide_points=wanted)
    assert {tuple(p) for p in points} == {(3, 4), (79, 59)}


@settings(max_examples=40, deadline=None)
@given(
    cells=st.sets(st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=80),
    spacing=st.integers(0, 9),
    seed=st.integers(0, 100),
)
def test_thinned_points_are_apart_and_every_dropped_point_had_a_neighbour(cells, spacing, seed):
    points = np.array(sorted(cells), np.int64).reshape(-1, 2)[:, ::-1]  # row by row
    kept = thin_points(points, spacing, np.random.default_rng(seed))
    before, after = ({tuple(p) for p in ps} for ps in (points, kept))
    assert after <= before
    assert len(kept) == len(after)

    def close(p: tuple[int, int], others: set[tuple[int, int]]) -> bool:
        return any(
            q != p and abs(q[0] - p[0]) < spacing and abs(q[1] - p[1]) < spacing for q in others
        )

    assert not any(close(p, after) for p in after)
    assert all(close(p, before) for p in before - after)
    assert bool(after) == bool(before)


@pytest.mark.parametrize("kind", ["noise", "lattice"])
def test_thousands_of_tied_peaks_take_no_quadratic_time(kind):
    flow = np.zeros((2, 384, 384), np.float32)
    if kind == "noise":
        flow += np.random.default_rng(0).normal(0, 5, flow.shape)
    else:
        flow[0, ::3, ::3] = 9
    assert len(motion_edge_peaks(flow, 15)) > 1000
    start = time.process_time()
    sample(flow, ["watershed"])
    assert time.process_time() - start < 2  # 10 to 50 ms; the pairwise form takes minutes


def test_large_fields_are_searched_at_every_second_pixel():
    points = sample(moving_disc((400, 820)), ["watershed"])[2]
    assert len(points) > 0
    assert (points % 2 == 0).all()


@pytest.mark.parametrize(
    ("strategies", "options", "message"),
    [
        ([], {}, "strategies is empty"),
        (["gird"], {}, r"strategies must be a list out of grid, .*; got \['gird'\]"),
        ("grid", {}, "strategies must be a list"),
        (["grid"], {"max_points": 0}, "max_points=0 gives no guidance points; use -1"),
        (["grid"], {"grid_ratio": 0.0}, r"grid_ratio=0.0 is not a share .* 1/1600"),
        (["watershed"], {"nms_size": 16}, "nms_size=16 is not an odd number"),
        (["uniform"], {"grid_ratio": 1e-6}, r"gives no points on 80x60 .* raise grid_ratio"),
        (["specified"], {}, "needs guide_points"),
        (["specified"], {"guide_points": np.array([[80, 0]])}, "within 80x60 pixels"),
        (["grid"], {"guide_points": np.array([[8, 0]])}, '"specified" is not among'),
    ],
)
def test_options_that_give_no_points_say_what_to_change(strategies, options, message):
    with pytest.raises(ValueError, match=message):
        sample(moving_disc(), strategies, **options)


def test_malformed_flow_is_refused():
    with pytest.raises(ValueError, match=r"float32 \(2, H, W\), got float32 \(60, 80, 2\)"):
        sample(moving_disc().transpose(1, 2, 0))
    spoiled = moving_disc()
    spoiled[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="mark unknown pixels in flow_valid"):
        sample(spoiled)
    with pytest.raises(ValueError, match="at least 40 pixels wide, got 30"):
        sample(moving_disc()[:, :, :30], ["gradnms"])
    with pytest.raises(ValueError, match="borders are left out"):
        sample(moving_disc()[:, :2], ["watershed"])


def test_rasterized_guidance_equals_the_sampled_image():
    flow = moving_disc() + 1
    sparse, mask, points = sample(flow)
    vectors = flow[:, points[:, 1], points[:, 0]].T
    padding = np.full((1, 5, 2), np.nan, np.float32)
    image = rasterize_guidance(
        torch.from_numpy(np.concatenate([points[None].astype(np.float32), padding], 1)),
        torch.from_numpy(np.concatenate([vectors[None], padding], 1)),
        torch.arange(len(points) + 5).unsqueeze(0) < len(points),
        SIZE,
    )
    np.testing.assert_array_equal(image[0, :2], sparse)
    np.testing.assert_array_equal(image[0, 2:], mask.repeat(2, 0))


def test_points_on_one_pixel_are_averaged_and_points_outside_ignored():
    points = torch.tensor([[[1.0, 2.0], [1.2, 1.8], [-1.0, 0.0], [4.0, 0.0], [0.0, 3.0]]])
    vectors = torch.tensor([[[2.0, 0.0], [4.0, 2.0], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]])
    image = rasterize_guidance(points, vectors, torch.ones(1, 5, dtype=torch.bool), (3, 4))
    assert image[0, :, 2, 1].tolist() == [3, 1, 1, 1]
    image[0, :, 2, 1] = 0
    assert not image.any()

"""Guidance points equal the published ones, random draws included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfsup_motion.ops.guidance import (
    edge_distance,
    motion_edge_peaks,
    motion_edges,
    motion_gradient_peaks,
    sample_guidance,
    thin_points,
)

CASES = sorted(p.name for p in (Path(__file__).parent / "cmp").glob("guidance_[!s]*_*.npz"))
CASES += sorted(p.name for p in (Path(__file__).parent / "cmp").glob("guidance_small_*.npz"))


def legacy_rng(seed: int) -> np.random.Generator:
    """A Generator that gives the uniform numbers of `np.random.seed(seed)`."""
    bits = np.random.MT19937()
    bits.state = np.random.RandomState(seed).get_state(legacy=False)
    return np.random.Generator(bits)


def channel_first(flow: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(flow.transpose(2, 0, 1))


def test_all_reference_cases_are_here():
    assert len(CASES) == 12


@pytest.mark.parametrize("name", CASES)
def test_points_equal_the_published_ones(name, golden):
    case = golden(f"cmp/{name}")
    _, _, subsample, nms_size, seed, max_points = case["params_h_w_ds_ks_seed_max"].tolist()
    flow = channel_first(case["flow"])
    peaks = motion_edge_peaks(flow[:, ::subsample, ::subsample], nms_size)
    np.testing.assert_array_equal(peaks[:, ::-1], case["cand_yx"])
    kept = thin_points(peaks, (nms_size - 1) // 2, legacy_rng(seed))
    np.testing.assert_array_equal(kept[:, ::-1], case["kept_yx"])

    options = {"grid_ratio": float(case["bg_ratio"]), "nms_size": nms_size}
    _, mask, _ = sample_guidance(flow, ["watershed"], rng=legacy_rng(seed), **options)
    np.testing.assert_array_equal(mask[0], case["ws_mask"] > 0)

    sparse, mask, points = sample_guidance(flow, rng=legacy_rng(seed), **options)
    published = case["mask"][..., 0] > 0
    if max_points == -1 or published.sum() < max_points:
        np.testing.assert_array_equal(mask[0], published)
        np.testing.assert_array_equal(sparse, case["sparse"].transpose(2, 0, 1))
    else:  # cut at random: the published choice is one of the subsets
        assert not (published & ~mask[0]).any()
        options["max_points"] = max_points
        sparse, mask, points = sample_guidance(flow, rng=legacy_rng(seed), **options)
        assert len(points) == published.sum() == max_points
    np.testing.assert_array_equal(sparse, np.where(mask, flow, 0))


@pytest.mark.parametrize("name", [n for n in CASES if "small" in n])
def test_motion_edges_equal_the_published_ones(name, golden):
    case = golden(f"cmp/{name}")
    edges = motion_edges(channel_first(case["flow"]))
    np.testing.assert_allclose(edges, case["edge"], atol=1e-4, rtol=1e-5)
    if case["edge_binary"].any():  # else the published distance is measured to a phantom pixel
        np.testing.assert_allclose(edge_distance(edges), case["distance"], atol=1e-4, rtol=1e-5)
    else:
        assert not edge_distance(edges).any()


@pytest.mark.parametrize(
    "strategies",
    [["grid"], ["gradnms"], ["watershed"], ["full"], ["specified"], ["gradnms", "watershed"]],
)
def test_strategies_equal_the_published_ones(strategies, golden):
    case = golden("cmp/guidance_strategies.npz")
    sparse, mask, _ = sample_guidance(
        channel_first(case["flow"]),
        strategies,
        grid_ratio=1 / 300,
        nms_size=7,
        rng=legacy_rng(3),
        guide_points=case["specified_xy"] if "specified" in strategies else None,
    )
    np.testing.assert_array_equal(mask[0], case["mask_" + "+".join(strategies)] > 0)
    np.testing.assert_array_equal(sparse, case["sparse_" + "+".join(strategies)].transpose(2, 0, 1))


@pytest.mark.parametrize("strategies", [["uniform"], ["single"], ["grid", "uniform"]])
def test_random_strategies_have_the_published_number_of_points(strategies, golden):
    case = golden("cmp/guidance_strategies.npz")
    flow = channel_first(case["flow"])
    options = {"grid_ratio": 1 / 300, "nms_size": 7, "rng": np.random.default_rng(0)}
    _, mask, points = sample_guidance(flow, strategies, **options)
    published = int((case["mask_" + "+".join(strategies)] > 0).sum())
    assert abs(len(points) - published) <= 2  # drawn with replacement
    if strategies == ["single"]:
        assert flow[:, mask[0]].any()


def test_motion_gradient_peaks_equal_the_published_ones(golden):
    case = golden("cmp/guidance_strategies.npz")
    x, y = motion_gradient_peaks(channel_first(case["flow2"]), 7).T
    expected = np.argwhere(case["gradnms_mask_flow2"])
    np.testing.assert_array_equal(np.stack([y, x], axis=1), expected)

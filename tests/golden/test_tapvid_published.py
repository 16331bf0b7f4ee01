"""Queries and scores of TAP-Vid against numbers of the official evaluation, and the read-out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.tasks.propagation.matching import soft_argmax, softmax
from selfsup_motion.tasks.propagation.tapvid_metrics import (
    THRESHOLDS,
    sample_queries,
    tapvid_metrics,
)


@pytest.fixture
def official(golden):
    return golden("correspondence/tapvid_metrics.npz")


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_queries_equal_the_official_ones(official, mode):
    points, occluded = official["tracks_xy_px"], official["occluded"]
    queries, tracks = sample_queries(points, occluded, mode)
    np.testing.assert_array_equal(queries, official[f"{mode}_query_tyx"][0])
    np.testing.assert_array_equal(points[tracks], official[f"{mode}_target"][0])
    np.testing.assert_array_equal(occluded[tracks], official[f"{mode}_target_occ"][0])
    if mode == "strided":
        np.testing.assert_array_equal(tracks, official["strided_trackgroup"][0])


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_scores_equal_the_official_ones(official, mode):
    parts = ("query_tyx", "target", "target_occ", "pred", "pred_occ")
    found = tapvid_metrics(*(official[f"{mode}_{part}"][0] for part in parts), mode)
    expected = {
        "delta_avg": official[f"{mode}_average_pts_within_thresh"],
        "AJ": official[f"{mode}_average_jaccard"],
        "OA": official[f"{mode}_occlusion_accuracy"],
        **{f"delta_{x}": official[f"{mode}_pts_within_{x}"] for x in THRESHOLDS},
        **{f"jaccard_{x}": official[f"{mode}_jaccard_{x}"] for x in THRESHOLDS},
    }
    assert found == pytest.approx({k: v.item() for k, v in expected.items()}, abs=1e-15)


def test_read_out_equals_that_of_tapnet(golden):
    published = golden("correspondence/tapnet_readout.npz")
    logits = torch.from_numpy(published["logits"])
    heat = softmax(logits * float(published["temperature_inverse"]))
    np.testing.assert_allclose(heat, published["softmax"], rtol=0, atol=1e-9)
    stride = published["image_hw"][0] / heat.shape[1]
    np.testing.assert_allclose(soft_argmax(heat) * stride, published["xy_px"], rtol=0, atol=1e-9)

"""DAVIS scores against numbers of the official toolkit."""

import numpy as np
import pytest

from selfsup_motion.ops.mask_metrics import boundary
from selfsup_motion.tasks.propagation.davis_metrics import (
    DavisEvaluator,
    contour_accuracy,
    region_similarity,
    statistics,
)

SEQUENCES = ("one", "three", "tiny")
GLOBAL = ("J&F", "J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


@pytest.fixture
def synthetic(golden):
    return golden("corrflow/e_davis_synth.npz")


@pytest.mark.parametrize("protocol", ["semi", "unsup"])
def test_scores_equal_the_toolkits(synthetic, protocol):
    evaluator = DavisEvaluator(semi_supervised=protocol == "semi")
    for name in SEQUENCES:
        scores = evaluator.add(name, synthetic[f"pred_{name}"], synthetic[f"gt_{name}"])
        for row, measure in enumerate("JF"):
            frames = np.stack([score.values[row] for score in scores])
            expected = synthetic[f"{protocol}_{name}_{measure}frames"]
            np.testing.assert_allclose(frames, expected, rtol=0, atol=1e-9)
    names = [f"{s.sequence}_{s.object_id}" for s in evaluator.scores]
    assert names == synthetic[f"{protocol}_J_names"].tolist()
    for row, measure in enumerate("JF"):
        for column, letter in enumerate("MRD"):
            ours = [score.statistics[row][column] for score in evaluator.scores]
            expected = synthetic[f"{protocol}_{measure}{letter}"]
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)
    summary = evaluator.summary()
    ours = [summary[name] for name in GLOBAL]
    np.testing.assert_allclose(ours, synthetic[f"{protocol}_global"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10, 25, 68, 102])
def test_statistics_equal_the_toolkits(synthetic, count):
    ours = statistics(synthetic[f"stat_in_{count}"])
    np.testing.assert_allclose(ours, synthetic[f"stat_out_{count}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("count", [300, 1100])
def test_decay_of_long_clips_is_that_of_their_quarters(synthetic, count):
    values = synthetic[f"stat_in_{count}"]
    ours, theirs = statistics(values), synthetic[f"stat_out_{count}"]
    np.testing.assert_allclose(ours[:2], theirs[:2], rtol=0, atol=1e-9)
    assert not np.isclose(ours.decay, theirs[2]), "theirs overflows 8 bits"
    quarter = count // 4
    assert ours.decay == pytest.approx(
        values[: quarter + 1].mean() - values[-quarter - 1 :].mean(), abs=0.01
    )


def test_primitives_equal_the_toolkits(synthetic):
    predicted, truth = synthetic["pred_three"][3] == 1, synthetic["gt_three"][3] == 1
    np.testing.assert_array_equal(boundary(truth), synthetic["prim_bmap"])
    assert region_similarity(predicted, truth) == pytest.approx(synthetic["prim_J"], abs=1e-9)
    assert contour_accuracy(predicted, truth) == pytest.approx(synthetic["prim_F"], abs=1e-9)
    for tolerance in ("0.008", "0.02", "1", "3"):
        ours = contour_accuracy(predicted, truth, tolerance=float(tolerance))
        assert ours == pytest.approx(synthetic[f"prim_F_th{tolerance}"], abs=1e-9)


def test_void_counts_as_the_toolkits(synthetic):
    predicted, truth = synthetic["pred_three"][3] == 1, synthetic["gt_three"][3] == 1
    void = np.zeros_like(truth)
    void[:, :25] = True
    ours = region_similarity(predicted, truth, void), contour_accuracy(predicted, truth, void)
    expected = synthetic["prim_J_void"], synthetic["prim_F_void"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


def test_empty_masks_score_as_the_toolkits(synthetic):
    full, empty = np.ones((32, 40), bool), np.zeros((32, 40), bool)
    full[:4] = False
    for name, pair in (
        ("empty_empty", (empty, empty)),
        ("empty_gt", (full, empty)),
        ("empty_pred", (empty, full)),
    ):
        ours = region_similarity(*pair), contour_accuracy(*pair)
        np.testing.assert_allclose(ours, synthetic[f"prim_{name}"], rtol=0, atol=1e-9)

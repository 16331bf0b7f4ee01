"""What the official toolkit does not tell: odd input, and the tables."""

import csv

import numpy as np
import pytest

from selfsup_motion.tasks.propagation.davis2017 import read_attributes
from selfsup_motion.tasks.propagation.davis_metrics import (
    DavisEvaluator,
    contour_accuracy,
    region_similarity,
)


def clip(count=4, objects=2):
    masks = np.zeros((count, 20, 24), np.uint8)
    for index in range(objects):
        masks[:, 2 + 8 * index : 8 + 8 * index, 3:12] = index + 1
    return masks


def test_perfect_result_scores_one():
    evaluator = DavisEvaluator()
    evaluator.add("a", clip(), clip())
    assert evaluator.summary() == {
        "J&F": 1, "J_mean": 1, "J_recall": 1, "J_decay": 0, "F_mean": 1, "F_recall": 1, "F_decay": 0
    }  # fmt: skip


def test_object_that_is_nowhere_predicted_scores_zero_while_it_is_there():
    truth, predicted = clip(), clip(objects=1)
    truth[2][truth[2] == 2] = 0  # and one where it is not
    scores = DavisEvaluator().add("a", predicted, truth)
    assert scores[1].values.tolist() == [[0, 1], [0, 1]]


def renamed(masks, *ids):
    return np.array([0, *ids], np.uint8)[masks]


def test_score_does_not_depend_on_the_numbers_of_the_objects():
    truth, predicted = clip(6), np.roll(clip(6), 2, 2)
    expected = DavisEvaluator()
    expected.add("a", predicted, truth)
    for ids in ((1, 200), (3, 254), (7, 9)):
        evaluator = DavisEvaluator()
        scores = evaluator.add("a", renamed(predicted, *ids), renamed(truth, *ids))
        assert [score.object_id for score in scores] == list(ids)
        assert evaluator.summary() == expected.summary()


def test_official_ids_count_what_is_nowhere_as_the_toolkit_does():
    truth = renamed(clip(6), 1, 4)
    empty = DavisEvaluator(official_ids=True)
    scores = empty.add("a", np.zeros_like(truth), truth)
    assert [(s.object_id, s.values.mean()) for s in scores] == [(1, 0), (2, 1), (3, 1), (4, 0)]
    assert empty.summary()["J&F"] == 0.5
    ours = DavisEvaluator()
    ours.add("a", np.zeros_like(truth), truth)
    assert ours.summary()["J&F"] == 0
    again = DavisEvaluator(official_ids=True)
    again.add("a", np.zeros_like(truth), truth, known=ours.scores)
    assert again.summary() == empty.summary()


def test_object_that_appears_later_counts_only_below_the_largest_official_id():
    truth = renamed(clip(6), 1, 3)
    truth[3:, 15:18, 15:20] = 2
    assert [s.object_id for s in DavisEvaluator().add("a", truth * (truth != 2), truth)] == [1, 3]
    official = DavisEvaluator(official_ids=True)
    scores = official.add("a", truth * (truth != 2), truth)
    assert scores[1].values.tolist() == [[1, 1, 0, 0]] * 2
    with pytest.raises(ValueError, match="predicted object 2, but the objects are 1, 3"):
        DavisEvaluator().add("a", truth, truth)


def test_crop_to_the_objects_does_not_change_f():
    generator = np.random.default_rng(0)
    for _ in range(20):
        small = generator.random((2, 9, 11)) > 0.6
        padded = np.zeros((2, 300, 400), bool)
        padded[:, 140:149, 200:211] = small
        # the same tolerance, in pixels
        assert contour_accuracy(*padded) == pytest.approx(
            contour_accuracy(*np.pad(small, ((0, 0), (9, 9), (9, 9))), tolerance=4)
        )


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (clip(3), clip(4), "3 predicted masks, 4 true"),
        (clip(2), clip(2), "none of its 2 frames counts"),
        (clip(4), clip(4, 0), "no object in the first frame"),
        (clip(4, 2), clip(4, 1), "predicted object 2, but the objects are 1"),
        (clip(4)[:, :10], clip(4), "one shape"),
    ],
)
def test_impossible_input_is_refused(predicted, truth, expected):
    with pytest.raises(ValueError, match=expected):
        DavisEvaluator().add("a", predicted, truth)


def test_attributes_group_sequences(tmp_path):
    evaluator = DavisEvaluator()
    evaluator.add("good", clip(), clip())
    evaluator.add("bad", np.zeros_like(clip()), clip())
    (tmp_path / "a.yaml").write_text(
        "sequences:\n- {name: good, attributes: [FM, OCC]}\n- {name: bad, attributes: [OCC]}"
    )
    attributes = read_attributes(tmp_path / "a.yaml")
    table = evaluator.by_attribute(attributes)
    assert {name: row["J_mean"] for name, row in table.items()} == {"FM": 1, "OCC": 0.5}
    evaluator.write(tmp_path, attributes)
    rows = list(csv.DictReader((tmp_path / "per_attribute.csv").open()))
    assert [row["attribute"] for row in rows] == ["FM", "OCC"]
    rows = list(csv.DictReader((tmp_path / "per_object.csv").open()))
    assert [row["object"] for row in rows] == ["good_1", "good_2", "bad_1", "bad_2"]
    assert len((tmp_path / "per_frame.csv").read_text().splitlines()) == 1 + 4 * 2


def test_a_single_frame_has_no_decay(tmp_path):
    evaluator = DavisEvaluator()
    evaluator.add("short", clip(3), clip(3))  # the first and the last one do not count
    assert list(evaluator.summary()) == ["J&F", "J_mean", "J_recall", "F_mean", "F_recall"]
    evaluator.add("long", clip(5), clip(5))
    assert "J_decay" in evaluator.summary()
    evaluator.write(tmp_path)
    rows = list(csv.DictReader((tmp_path / "per_sequence.csv").open()))
    assert [(row["F_mean"], row["J_decay"]) for row in rows] == [("1.0", ""), ("1.0", "0.0")]


def test_masks_are_compared_only_in_one_size():
    with pytest.raises(ValueError, match="one shape"):
        region_similarity(np.zeros((2, 2), bool), np.zeros((2, 3), bool))

"""Episodes with few examples: prototypes, their scores, and which videos they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsup_motion.errors import UserError
from selfsup_motion.tasks.actions.few_shot import FewShot, prototype_scores


def episodes(**changes) -> FewShot:
    options = {
        "ways": 3, "shots": [1, 4], "queries": 2, "episodes": 200, "metric": "cosine", "seed": 0
    }  # fmt: skip
    return FewShot(**{**options, **changes})


def clouds(classes: int, each: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """Features around one centre per class, and the classes; centres do not depend on the seed."""
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(classes).repeat_interleave(each)
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(seed))
    return centres[labels] + spread * noise, labels


def test_the_nearest_prototype_scores_highest():
    support = torch.tensor([[[2.0, 0.0], [4.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    queries = torch.tensor([[1.0, 0.9], [3.0, 3.1]])
    # prototypes (3, 0) and (0, 1)
    distance = prototype_scores(support, queries, "euclidean")
    expected = [[-np.hypot(2, 0.9), -np.hypot(1, 0.1)], [-3.1, -np.hypot(3, 2.1)]]
    torch.testing.assert_close(distance, torch.tensor(expected, dtype=torch.float32))
    angle = prototype_scores(support, queries, "cosine")
    norms = queries.norm(dim=1)
    torch.testing.assert_close(angle, queries / norms[:, None])
    assert distance.argmax(1).tolist() == [1, 0]
    assert angle.argmax(1).tolist() == [0, 1]


def test_cosine_prototypes_are_means_of_directions():
    """One example a thousand times as long as the other does not drown it."""
    gallery = torch.tensor([[1000.0, 0.0], [0.0, 1.0], [-1.0, 0.1], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    queries = torch.tensor([[0.1, 1.0], [-1.0, 0.2]])
    scores = episodes(ways=2, shots=[2], queries=1, episodes=4)(
        gallery, labels, queries, torch.tensor([0, 1])
    )
    assert scores["fewshot_2way_2shot"] == 1


def test_more_examples_help_and_the_interval_is_that_of_the_mean():
    train, test = clouds(6, 12, 1.2, 0), clouds(6, 9, 1.2, 1)
    scores = episodes()(*train, *test)
    names = [f"fewshot_3way_{k}shot{end}" for k in (1, 4) for end in ("", "_ci95")]
    assert list(scores) == names
    assert 1 / 3 < scores["fewshot_3way_1shot"] < scores["fewshot_3way_4shot"] < 1
    many = episodes(episodes=3200)(*train, *test)
    for shots in (1, 4):
        name = f"fewshot_3way_{shots}shot"
        assert many[name] == pytest.approx(scores[name], abs=2 * scores[f"{name}_ci95"])
        # sixteen times as many episodes: a quarter of the width
        ratio = many[f"{name}_ci95"] / scores[f"{name}_ci95"]
        assert ratio == pytest.approx(0.25, rel=0.2)


def test_without_information_accuracy_is_chance():
    train, test = clouds(6, 12, 0.0, 0), clouds(6, 9, 0.0, 1)
    noise = [
        torch.randn(len(x), 8, generator=torch.Generator().manual_seed(5)) for x, _ in (train, test)
    ]
    scores = episodes(episodes=600)(noise[0], train[1], noise[1], test[1])
    assert abs(scores["fewshot_3way_1shot"] - 1 / 3) < 3 * scores["fewshot_3way_1shot_ci95"]


def test_episodes_follow_from_the_seed_alone():
    train, test = clouds(6, 12, 2.0, 0), clouds(6, 9, 2.0, 1)
    torch.manual_seed(1)
    first = episodes()(*train, *test)
    torch.manual_seed(2)
    assert episodes()(*train, *test) == first
    assert episodes(seed=1)(*train, *test) != first
    # one number of examples does not change the episodes of another
    assert episodes(shots=[4])(*train, *test)["fewshot_3way_4shot"] == first["fewshot_3way_4shot"]


def test_classes_with_too_few_videos_take_no_part(caplog):
    train, test = clouds(4, 4, 0.01, 0), clouds(4, 2, 0.01, 1)
    # class 3 has a single test video, which is wrong at that
    keep = torch.arange(8) != 7
    test = test[0][keep], test[1][keep]
    test[0][-1] = test[0][0]
    assert episodes()(*train, *test)["fewshot_3way_1shot"] == 1
    task = episodes(shots=[4, 5])
    scores = task(*train, *test)
    assert task(*train, *test) == scores  # as of another encoder: not told again
    assert list(scores) == ["fewshot_3way_4shot"]
    assert len(caplog.records) == 1
    assert (
        "0 classes have 5 training and 2 test videos, but 3 ways with 5 shots need 3" in caplog.text
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ways": 1}, "ways=1: expected at least 2"),
        ({"shots": []}, r"shots=\[\]: expected numbers of at least 1"),
        ({"shots": [0]}, r"shots=\[0\]"),
        ({"queries": 0}, "queries=0"),
        ({"episodes": 1}, "episodes=1: expected at least 2"),
        ({"metric": "l1"}, "metric=l1: choose cosine or euclidean"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=rf"task\.few_shot\.{message}"):
        episodes(**changes)


def test_episodes_that_are_all_the_same_have_no_interval():
    train, test = clouds(3, 4, 1.2, 0), clouds(3, 2, 1.2, 1)
    scores = episodes(episodes=5)(*train, *test)
    assert list(scores) == ["fewshot_3way_1shot", "fewshot_3way_1shot_ci95", "fewshot_3way_4shot"]

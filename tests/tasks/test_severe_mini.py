"""SEVERE-mini: what its questions ask, and what its controls say."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from test_action_tasks import write_video
from torch import Tensor, nn

from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import UserError
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.tasks.actions.videos import ClipViews, ToyActions
from selfsup_motion.tasks.severe.evaluation import SevereMini, above_chance
from selfsup_motion.tasks.severe.question import Question, few, frozen
from selfsup_motion.weights.used import WeightsUsed, remember, remember_node

VIEWS = ClipViews(length=4, stride=4, clips=1, crops=1, short_side=32, size=32)
STEADY = Difficulty(
    num_sprites=(1, 1), puppet=0, rotation=0, camera_speed=0, camera_rotation=0, camera_zoom=0,
    lighting=0, noise=0, contrast=0, speed=(0.02, 0.03),
)  # fmt: skip


class Sees(nn.Module):
    """Features that anyone can check: the picture in the middle, or what changes in time."""

    sees = "clip"
    input_mean = input_std = (127.5,) * 3
    out_channels, stride = 64, 1

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        if self.what == "scene":
            seen = nn.functional.adaptive_avg_pool2d(x[:, :, 2].mean(1), 8)
        else:
            step = (x[:, :, -1] - x[:, :, 0]).mean(1)
            seen = nn.functional.adaptive_avg_pool2d(step.abs(), 8)
        return seen.flatten(1)[:, :, None, None, None]


def question(label: str = "action", looks: int = 4, **options) -> Question:
    parts = [
        ToyActions(
            ToyWorld(
                n, split=split, size=32, num_frames=16, looks=looks, vocabulary="speed",
                difficulty=STEADY,
            ),
            label=label,
        )
        for split, n in (("train", 36), ("test", 24))
    ]  # fmt: skip
    return Question(train=parts[0], test=parts[1], views=VIEWS, **options)


def task(questions: dict, **options) -> SevereMini:
    return SevereMini(questions=questions, real_views=VIEWS, baselines=(), **options)


def test_controls_tell_who_sees_the_scene_from_who_sees_motion(tmp_path):
    both = task({"scene": question("look", still=True), "motion": question(still=True)})
    scene = both.run(Sees("scene"), tmp_path)
    motion = both.run(Sees("motion"), tmp_path)
    assert scene["scene"] > 0.9
    assert scene["scene_still"] == scene["scene"]
    assert motion["motion"] > scene["motion"]
    assert motion["motion"] > 0.5
    # nothing changes in a frozen clip: all features are the same
    assert motion["motion_still"] == pytest.approx(1 / 3, abs=0.15)


def test_the_table_holds_chances_and_all_that_was_scored(tmp_path):
    asked = task({"speed": question(examples=[2]), "repetitions": question(number=True)})
    found = asked.run(Sees("motion"), tmp_path)
    assert set(found) == {
        "speed", "speed_few2", "repetitions", "repetitions_error", "above_chance"
    }  # fmt: skip
    with (tmp_path / "severe_mini.csv").open(encoding="utf-8") as stream:
        rows = {row["question"]: row for row in csv.DictReader(stream)}
    assert float(rows["speed"]["encoder"]) == pytest.approx(found["speed"], abs=1e-4)
    assert rows["speed_few2"]["chance"] == "0.3333"
    assert rows["repetitions_error"]["chance"] == ""
    assert asked.summary()["chance"]["speed"] == pytest.approx(1 / 3)
    assert 0 <= found["repetitions_error"] <= 2


def test_an_evaluation_that_goes_on_asks_only_what_is_missing(tmp_path):
    both = {"speed": question(), "still": question("look", still=True)}
    whole = task(both).run(Sees("motion"), tmp_path / "whole")
    task({"speed": question()}).run(Sees("motion"), tmp_path / "stopped")
    seen = []
    found = task(both).run(
        Sees("motion"), tmp_path / "stopped", reuse=True,
        progress=lambda done, total, what: seen.append((done, total, what)),
    )  # fmt: skip
    assert found == whole
    assert all(what.startswith("still: ") for _, _, what in seen)
    assert seen[-1][:2] == (120, 120)


def test_the_score_is_the_mean_over_axes_of_what_is_above_chance():
    chances = {"toy": 0.125, "natural": 0.125, "toy_few5": 0.125, "speed": 0.5, "scene": 0.1}
    found = {"toy": 0.125, "natural": 1.0, "toy_few5": 0.125, "speed": 1.0, "scene": 1.0}
    assert above_chance(found, chances) == pytest.approx((0.5 + 0 + 1) / 3)
    assert np.isnan(above_chance({"scene": 1.0}, chances))


def test_a_folder_of_real_videos_is_a_domain(tmp_path):
    root = tmp_path / "videos"
    for name, level in (("dark/a", 40), ("dark/b", 44), ("light/a", 180), ("light/b", 184)):
        write_video(root / f"{name}.mp4", 8, level)
    asked = task({"speed": question()}, real=root, test_share=0.5)
    assert asked.questions["real"].chance == 0.5
    asked.questions = {"real": asked.questions["real"]}
    assert asked.run(Sees("scene"), tmp_path)["real"] == 1.0


def test_few_examples_are_the_first_of_each_class():
    assert few(np.array([1, 0, 1, 1, 0, 2]), 2).tolist() == [0, 1, 2, 4, 5]


def test_frozen_clips_show_their_middle_frame():
    clips = np.random.default_rng(0).integers(0, 255, (2, 4, 3, 2, 2)).astype(np.uint8)
    still = frozen(clips)
    assert still.shape == clips.shape
    assert (still == clips[:, 2:3]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task({}), "task.questions is empty"),
        (lambda: task({"speed": question()}, probe_steps=0), "task.probe_steps=0"),
        (lambda: question(examples=[0]), "expected numbers of at least 1"),
        (
            lambda: task({"speed": question()}, real="nowhere"),
            "task.real=nowhere: there is no such folder",
        ),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_random_weights_stand_beside_trained_ones(tmp_path):
    node = {
        "_target_": "selfsup_motion.models.small_resnet3d.SmallResNet3d",
        "width": 4, "widths": [8], "strides": [[1, 2]],
    }  # fmt: skip
    encoder = SmallResNet3d(width=4, widths=[8], strides=[(1, 2)])
    remember_node(encoder, node, ())
    remember(encoder, WeightsUsed(tmp_path / "x.ckpt", "MoSI"), "")
    asked = SevereMini(questions={"speed": question()}, real_views=VIEWS)
    found = asked.run(encoder, tmp_path)
    assert set(asked.beside) == {"untrained"}
    assert set(asked.beside["untrained"]) == set(found)
    with (tmp_path / "severe_mini.csv").open(encoding="utf-8") as stream:
        assert next(csv.reader(stream)) == ["question", "encoder", "untrained", "chance"]

"""Worlds that share their scenes, and motions that differ in one respect only."""

import numpy as np
import pytest

from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.motion import Track, Wave
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.data.toy.vocabularies import vocabulary
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.actions.videos import ToyActions

STEADY = Difficulty(
    puppet=0, rotation=0, camera_speed=0, camera_rotation=0, camera_zoom=0, lighting=0, noise=0
)
REST = Track(x=Wave(offset=5.0), y=Wave(offset=-3.0))


def path(name: str, action: str, seed: int, frames: int = 17) -> np.ndarray:
    """(frames, 2) places of an object that rests at (5, −3), at 2 pixels a frame."""
    track = vocabulary(name, frames)[action](np.random.default_rng(seed), REST, 2.0, 16.0)
    return np.array([track(t)[:2, 2] for t in range(frames)])


def test_a_look_is_the_same_in_all_videos_and_splits_but_for_its_motion():
    worlds = [
        ToyWorld(6, looks=3, size=48, difficulty=STEADY, split=split) for split in ("train", "test")
    ]
    scenes = [world._scene(index) for world in worlds for index in (1, 4)]
    for scene in scenes[1:]:
        assert len(scene.layers) == len(scenes[0].layers)
        for one, other in zip(scene.layers, scenes[0].layers, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
    assert len({scene.layers[1].track for scene in scenes}) == 4
    assert not np.array_equal(worlds[0]._scene(2).layers[0].image, scenes[0].layers[0].image)
    assert [int(worlds[0].read(i, [0]).labels["look"]) for i in range(4)] == [0, 1, 2, 0]


def test_looks_can_be_the_classes():
    places = ToyActions(ToyWorld(5, looks=2, size=32), label="look")
    assert places.classes == ("scene 0", "scene 1")
    assert places.labels.tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(UserError, match="expected a ToyWorld with looks"):
        ToyActions(ToyWorld(5, size=32), label="look")


def test_speeds_do_not_overlap_and_headings_are_any():
    for seed in range(5):
        lengths = [
            np.linalg.norm(np.diff(path("speed", action, seed), axis=0), axis=1)
            for action in ("slow", "medium", "fast")
        ]
        np.testing.assert_allclose(np.array(lengths).T, [[0.8, 1.8, 3.2]] * 16)
    headings = [np.diff(path("speed", "slow", seed), axis=0)[0] for seed in range(20)]
    assert {(x > 0, y > 0) for x, y in headings} == {(a, b) for a in (0, 1) for b in (0, 1)}


def test_directions_are_where_they_are_called():
    for action, (x, y) in {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}.items():
        step = path("direction", action, 3)[1] - path("direction", action, 3)[0]
        assert step @ (x, y) >= 2 * np.cos(np.deg2rad(15.01))


def test_orders_share_their_steps_and_differ_in_when_they_come():
    first, second = (
        np.diff(path("order", action, 7), axis=0) for action in ("across_first", "along_first")
    )
    assert (first[:8, 1] == 0).all()
    assert (first[8:, 0] == 0).all()
    np.testing.assert_allclose(first[:8], second[8:])
    np.testing.assert_allclose(first[8:], second[:8])


def test_all_paths_pass_the_place_of_rest_in_the_middle():
    for name in ("speed", "direction"):
        for action in vocabulary(name, 17):
            np.testing.assert_allclose(path(name, action, 2)[8], [5, -3])
    turn = path("order", "across_first", 2)
    np.testing.assert_allclose([turn[0, 0] + turn[8, 0], turn[8, 0]], [turn[0, 0] + 5, 5])


def test_repetitions_are_counted_at_the_same_speed():
    for times, action in enumerate(vocabulary("repetitions", 48), 1):
        moved = path("repetitions", action, 4, 49)[:-1] - (5, -3)
        turns = np.diff(np.sign(np.diff(moved[:, 0])))
        assert abs(np.count_nonzero(turns) - 2 * times) <= 1
        fastest = np.linalg.norm(np.diff(moved, axis=0), axis=1).max()
        assert fastest == pytest.approx(2.0, rel=0.02)


def test_natural_textures_change_the_looks_and_not_the_motion():
    plain, natural = (
        ToyWorld(3, size=48, seed=5, looks=3, textures=kind) for kind in ("mottled", "natural")
    )
    one, other = plain.read(0, [0, 3]), natural.read(0, [0, 3])
    assert int(one.labels["action"]) == int(other.labels["action"])
    assert np.abs(one.frames.astype(int) - other.frames).mean() > 5
    assert natural.read(0, [0, 3]).frames.tobytes() == other.frames.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"looks": 0}, "looks must be at least 1"),
        ({"vocabulary": "dance"}, "vocabulary must be one of actions, speed"),
        ({"textures": "wool"}, "textures must be mottled or natural"),
    ],
)
def test_what_a_world_cannot_be_is_told(options, message):
    with pytest.raises(UserError, match=message):
        ToyWorld(3, **options)

"""Points that go along a path, and regions that move as one."""

import numpy as np
import pytest
import torch

from selfsup_motion.apps import motion
from selfsup_motion.apps.arrows import arrow_sets, sets_of
from selfsup_motion.apps.example import PHOTO
from selfsup_motion.apps.motion import TIMES, MovingPhoto, farthest, predict_motion
from selfsup_motion.apps.photo import read_photo
from selfsup_motion.apps.regions import border_pins, spread_over_regions
from selfsup_motion.apps.render import render_frames, schedule
from selfsup_motion.errors import UserError
from selfsup_motion.weights.trained_cmp import load_weights

SIZE = (60, 80)
CORNER = {"paths": [[[10, 10], [20, 10], [20, 30]]], "arrows": [[50, 40, 8, 0]]}


def test_points_go_along_a_path_at_an_even_speed():
    (drawn,) = sets_of(CORNER, "it", SIZE)
    assert drawn.at(1 / 6).vectors == pytest.approx(np.array([[8 / 6, 0], [5, 0]]))
    assert drawn.at(2 / 3).vectors[1] == pytest.approx(np.array([10, 10]))
    assert drawn.at(1).vectors.tolist() == [[8, 0], [10, 20]]
    assert drawn.at(1).points.tolist() == [[50, 40], [10, 10]]


def test_what_is_written_is_read_again():
    (drawn,) = sets_of(CORNER, "it", SIZE)
    (again,) = sets_of(drawn.as_json(), "it", SIZE)
    assert again.as_json() == drawn.as_json()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"paths": [[[1, 1], [1, 1]]]}, "path 1 stays where it begins"),
        ({"paths": [[[99, 1], [1, 1]]]}, "outside of the upright photo"),
        ({"paths": [[1, 1]]}, "path 1: expected a list"),
        ({"pins": [[1, 1]]}, "expected"),
        ({"paths": [[[50, 40], [9, 9]]], "arrows": [[50, 40, 8, 0]]}, "arrow 1 and path 1"),
    ],
)
def test_path_that_cannot_be_followed_is_refused(content, told):
    with pytest.raises(UserError, match=told):
        sets_of(content, "it", SIZE)


def test_motion_along_a_path_is_that_of_arrows_to_its_places(cmp_checkpoint):
    weights = load_weights(str(cmp_checkpoint))
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    (drawn,) = sets_of(CORNER, "it", SIZE)
    flows = predict_motion(weights, image, drawn)
    assert flows.shape == (TIMES, 2, *SIZE)
    for step in (1, TIMES):
        alone = predict_motion(weights, image, drawn.at(step / TIMES))
        torch.testing.assert_close(flows[step - 1], alone)


def test_motion_of_a_large_photo_is_that_of_a_copy_in_pixels_of_the_photo(monkeypatch):
    weights = load_weights("cmp")
    image = read_photo(PHOTO)
    size = image.shape[-2], image.shape[-1]
    arrows = [[322, 230, 20, -30]], [[20, 20]]
    drawn = arrow_sets(*arrows, size) + sets_of(
        {"paths": [[[322, 230], [340, 200], [350, 240]]]}, "it", size
    )
    assert MovingPhoto(weights, image).copy is image
    monkeypatch.setattr(motion, "_COPY_SIDE", 1)
    moving = MovingPhoto(weights, image)
    assert min(moving.copy.shape[-2:]) == weights.short_side < size[0]
    for each in drawn:
        whole = farthest(predict_motion(weights, image, each))
        small = farthest(moving.motion(each))
        assert small.shape[-2:] == moving.copy.shape[-2:]
        again = moving.whole(small)
        assert again.shape == whole.shape
        assert again[:, 230, 322] == pytest.approx(whole[:, 230, 322], abs=2)
        first, second = (flow.norm(dim=0) > 8 for flow in (whole, again))
        assert (first & second).sum() > 0.9 * (first | second).sum()


def test_film_shows_a_thing_where_its_path_has_led_it():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, 8:14, 8:14] = 255
    there = torch.zeros(1, 40, 40)
    there[:, 6:16, 6:16] = 1
    # first to the right by 10, then down by 10
    ends = torch.tensor([[5.0, 0], [10, 0], [10, 5], [10, 10]])
    flows = ends[:, :, None, None] * there
    frames = list(render_frames(image, flows, schedule(5, "none", "linear"), "forward"))
    centres = [np.argwhere(frame[..., 0] > 127).mean(0)[::-1] for frame in frames]
    expected = [(10.5, 10.5), (15.5, 10.5), (20.5, 10.5), (20.5, 15.5), (20.5, 20.5)]
    assert np.array(centres) == pytest.approx(np.array(expected), abs=0.6)


def test_seamless_loop_of_a_path_begins_and_ends_alike():
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    flows = torch.linspace(0.25, 1, 4)[:, None, None, None] * torch.ones(1, 2, 40, 40)
    first, *_, last = render_frames(image, flows, schedule(40, "seamless", "linear"))
    assert np.abs(first.astype(int) - last).mean() < 10  # without a loop: 85


def test_points_of_a_region_follow_the_nearest_arrow_or_path():
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 10:70] = 1
    labels[40:50, 10:30] = 2
    arrows, pins, paths = spread_over_regions(
        [[15, 20, 5, 0], [5, 55, 1, 1]], [[[65, 20], [65, 25]]], labels
    )
    assert [5, 55, 1, 1] in arrows
    left = [row for row in arrows if row[2:] == [5, 0]]
    assert all(row[0] < 40 for row in left)
    assert all(path[0][0] >= 40 and path[1][1] - path[0][1] == 5 for path in paths)
    assert len(left) + len(paths) == 8
    assert len(pins) == 8
    assert all(labels[int(y), int(x)] == 2 for x, y in pins)


def test_border_is_held_but_not_beside_what_moves():
    pins = border_pins((101, 201), [[0, 0, 5, 5]])
    assert [0, 0] not in pins
    assert [200, 100] in pins
    assert len(pins) == 15

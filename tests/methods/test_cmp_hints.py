"""What programs know of a motion, as the guidance of `CMP.propagate`."""

import numpy as np
import pytest
import torch

from selfsup_motion import load_method
from selfsup_motion.methods.cmp import (
    Hints,
    borrowed_hints,
    join_hints,
    region_hints,
    trajectory_hints,
)
from selfsup_motion.methods.cmp.steps import as_step
from selfsup_motion.ops.tracks import sparse_to_points, trajectory_guidance


def disc(size: tuple[int, int], x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(columns - x, rows - y) <= radius


def test_trajectories_are_motions_from_where_they_start():
    tracks = torch.tensor(
        [[[5.0, 9.0], [40.0, 30.0]], [[6.0, 9.0], [40.0, 28.0]], [[8.0, 9.5]] * 2]
    )
    hints = trajectory_hints(tracks)
    assert torch.equal(hints.points, tracks[0])
    assert torch.equal(hints.vectors, tracks[1:] - tracks[:1])
    assert hints.used.all()
    sparse, mask = trajectory_guidance(tracks, (40, 60))  # the other form of the same
    _, vectors, _ = sparse_to_points(sparse, mask)
    assert torch.equal(vectors, hints.vectors)


def test_hidden_points_say_nothing():
    tracks = np.random.default_rng(0).uniform(0, 30, (3, 4, 2))
    tracks[0, 1] = np.nan  # not there at first
    tracks[2, 2] = np.nan  # lost at the end
    visible = np.ones((3, 4), bool)
    visible[1, 3] = False
    hints = trajectory_hints(tracks, visible)
    assert hints.used.tolist() == [[True, False, True, False], [True, False, False, True]]
    assert all(part.isfinite().all() for part in hints[:2])


def test_a_lost_point_may_be_none():
    frames = [[[1, 2], [3, 4]], [[2, 2], None], [None, [3, 6]]]  # as points.json has them
    hints = trajectory_hints(frames)
    assert hints.used.tolist() == [[True, False], [False, True]]
    assert hints.vectors.tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 2]]]


def test_motion_of_another_clip_grows_with_the_image():
    tracks = torch.tensor([[[-0.5, -0.5], [49.5, 24.5]], [[4.5, -0.5], [49.5, 34.5]]])
    hints = borrowed_hints(tracks, (50, 100), (200, 200))
    assert hints.points.tolist() == [[-0.5, -0.5], [99.5, 99.5]]
    assert hints.vectors.tolist() == [[[10.0, 0.0], [0.0, 40.0]]]
    elsewhere = borrowed_hints(tracks, (50, 100), (200, 200), places=[[3, 4], [5, 6]])
    assert elsewhere.points.tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert torch.equal(elsewhere.vectors, hints.vectors)


@pytest.mark.parametrize("count", [1, 2, 8, 40])
def test_points_of_a_region_are_spread_out_in_it(count):
    region = disc((80, 120), 60, 40, 30)
    hints = region_hints(region, (3.0, -1.0), count=count)
    x, y = hints.points.long().T
    assert len(x) == count
    assert region[y, x].all()
    assert (hints.vectors == torch.tensor([3.0, -1.0])).all()
    assert hints.points[0].tolist() == [60, 40]
    if count > 1:
        apart = torch.cdist(hints.points, hints.points) + 1e3 * torch.eye(count)
        assert apart.min() > 0.7 * 30 / count**0.5
        assert (hints.points - hints.points.mean(0)).abs().max() > 8


def test_a_small_region_has_as_many_points_as_pixels():
    region = np.zeros((9, 9))
    region[4, 3:6] = 1
    points = region_hints(region, [[1, 0], [2, 0]]).points
    assert sorted(points.tolist()) == [[3, 4], [4, 4], [5, 4]]


def test_hints_of_several_kinds_join():
    moving = region_hints(disc((40, 40), 10, 10, 6), [[1, 0], [2, 0], [3, 0]], count=2)
    resting = region_hints(disc((40, 40), 30, 30, 6), (0, 0), count=3)
    track = trajectory_hints(torch.rand(4, 1, 2))
    both = join_hints(moving, resting, track)
    assert both.points.shape == both.vectors.shape == (3, 6, 2)
    assert both.used.shape == (3, 6)
    assert both.vectors[2, :2, 0].tolist() == [3, 3]
    assert both.vectors[:, 2:5].abs().sum() == 0
    still = join_hints(resting, resting)
    assert still.points.shape == (6, 2)


def test_hints_are_what_propagate_takes(cmp_checkpoint):
    method = load_method(cmp_checkpoint)
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    region = region_hints(disc((64, 96), 40, 30, 12), [[1, 0], [4, 1]])
    tracks = trajectory_hints(30 + 9 * torch.rand(3, 2, 2))
    flows = method.propagate(image, *join_hints(region, tracks))
    assert flows.shape == (2, 2, 64, 96)
    alone = method.propagate(
        image,
        torch.cat([region.points, tracks.points]),
        torch.cat([region.vectors[1], tracks.vectors[1]]),
    )
    torch.testing.assert_close(flows[1], alone, atol=1e-3, rtol=1e-3)
    nothing = Hints(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool))
    assert method.propagate(image, *nothing).shape == (2, 64, 96)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: trajectory_hints(torch.zeros(1, 3, 2)), r"\(T, K, 2\) with T >= 2"),
        (lambda: trajectory_hints(torch.zeros(2, 3, 2), torch.ones(2, 2)), r"must be \(2, 3\)"),
        (
            lambda: borrowed_hints(torch.zeros(2, 3, 2), (9, 9), (9, 9), places=[[1, 2]]),
            "one for each trajectory",
        ),
        (lambda: region_hints(np.zeros((4, 4)), (1, 0)), "with a pixel in it"),
        (lambda: region_hints(np.ones((4, 4)), (1, 0, 0)), r"vector must be \(2,\)"),
        (lambda: region_hints(np.ones((4, 4)), (1, 0), count=0), "at least 1"),
        (
            lambda: join_hints(*(trajectory_hints(torch.zeros(t, 1, 2)) for t in (2, 3))),
            "hints for 1 and 2 times",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_no_arrow_is_no_step():
    vectors, factor = as_step(torch.zeros(0, 2), 64)
    assert (tuple(vectors.shape), factor) == ((0, 2), 1.0)

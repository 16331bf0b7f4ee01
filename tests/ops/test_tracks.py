"""Tracks and sparse flow images, the forms of guidance that video generators hold."""

import pytest
import torch

from selfsup_motion.ops.tracks import sparse_to_points, trajectory_guidance


def test_a_track_becomes_a_vector_where_it_starts():
    tracks = torch.tensor([[[3.0, 2.0]], [[4.0, 2.0]], [[6.0, 1.0]]])  # (T, K, 2)
    sparse, mask = trajectory_guidance(tracks, (5, 8))
    assert sparse.shape == mask.shape == (2, 2, 5, 8)
    assert sparse[0, :, 2, 3].tolist() == [1, 0]
    assert sparse[1, :, 2, 3].tolist() == [3, -1]
    assert mask[:, :, 2, 3].min() == 1
    assert mask.sum() == 4
    assert sparse.abs().sum() == 5


def test_hidden_and_departed_tracks_give_nothing_then():
    tracks = torch.zeros(3, 3, 2)
    tracks[:, 0], tracks[:, 1], tracks[:, 2] = 1.0, 2.0, -4.0  # the last one starts outside
    tracks[2, 1] = float("nan")
    visible = torch.ones(3, 3, dtype=torch.bool)
    visible[1, 0] = False
    _, mask = trajectory_guidance(tracks, (4, 4), visible)
    assert mask[0, 0].nonzero().tolist() == [[2, 2]]
    assert mask[1, 0].nonzero().tolist() == [[1, 1]]


def test_batches_are_their_items():
    tracks = torch.rand(2, 4, 5, 2) * 9
    sparse, mask = trajectory_guidance(tracks, (10, 10))
    assert sparse.shape == (2, 3, 2, 10, 10)
    for item in range(2):
        one = trajectory_guidance(tracks[item], (10, 10))
        assert torch.equal(one[0], sparse[item])
        assert torch.equal(one[1], mask[item])


def test_points_of_a_sparse_image_make_that_image_again():
    points = torch.tensor([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]])
    tracks = torch.stack([points, points + torch.tensor([0.5, -2.0])], 1)
    sparse, mask = (t[:, 0] for t in trajectory_guidance(tracks, (4, 5)))
    mask[1, :, 3, 0] = 0  # items of different number
    found, vectors, used = sparse_to_points(sparse, mask)
    assert used.tolist() == [[True, True], [True, False]]
    assert sorted(found[0].tolist()) == [[1, 2], [3, 0]]
    assert vectors[used].tolist() == [[0.5, -2.0]] * 3
    assert not vectors[~used].any()


def test_an_empty_sparse_image_has_no_points():
    points, vectors, used = sparse_to_points(torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 4))
    assert points.shape == vectors.shape == (2, 0, 2)
    assert used.shape == (2, 0)


@pytest.mark.parametrize("shape", [(4, 2), (1, 4, 2), (3, 4, 3)])
def test_what_is_no_track_is_refused(shape):
    with pytest.raises(ValueError, match=r"tracks must be \(\.\.\., T, K, 2\) with T >= 2"):
        trajectory_guidance(torch.zeros(shape), (4, 4))


def test_guidance_can_be_differentiated():
    tracks = torch.rand(2, 3, 2, dtype=torch.float64).requires_grad_()
    sparse, _ = trajectory_guidance(tracks, (4, 4))
    sparse.sum().backward()
    assert tracks.grad is not None
    assert tracks.grad[1].abs().sum() > 0

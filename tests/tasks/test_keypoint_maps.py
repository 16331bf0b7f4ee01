"""Dots and percentages at their edges."""

import numpy as np
import pytest
import torch

from selfsup_motion.tasks.propagation.keypoints import (
    gaussian_maps,
    normalised_errors,
    pck,
    read_points,
)


def test_drawn_points_are_read_back_to_half_a_cell():
    points = np.array([[3.2, 7.8], [10.0, 2.0], [np.nan, np.nan], [-9.0, 4.0]])
    maps = gaussian_maps(points, (12, 16), 0.5)
    assert maps.shape == (5, 12, 16)
    found = read_points(maps)
    assert np.abs(found[:2] - points[:2]).max() <= 0.5
    assert (found[2:] == -1).all()
    torch.testing.assert_close((maps[1:].sum(0) == 0).float(), maps[0])


def test_lost_joint_is_left_out_and_unknown_one_too():
    truth = np.tile([[0.0, 0], [30, 0], [0, 40]], (2, 1, 1))
    predicted = truth.copy()
    predicted[1, 0] = -1
    truth[1, 1] = np.nan
    errors = normalised_errors(predicted, truth)
    assert np.isnan(errors[1]).tolist() == [True, True, False]
    assert errors[0].tolist() == [0, 0, 0]


def test_pck_counts_up_to_the_threshold_of_the_box():
    truth = np.tile([[0.0, 0], [30, 40]], (2, 1, 1))  # diagonal 50: 30 px, longer side 40
    predicted = truth + np.array([0, 4])
    assert normalised_errors(predicted, truth, "max")[1].tolist() == [0.1, 0.1]
    assert normalised_errors(predicted, truth)[1] == pytest.approx([4 / 30, 4 / 30])
    errors = [normalised_errors(predicted, truth, "max")]
    assert pck(errors, [0.09, 0.1])[:, -1].tolist() == [0, 100]


def test_joint_that_never_counts_does_not_count_in_the_mean():
    errors = np.array([[0.0, 0.0], [0.05, np.nan]])
    table = pck([errors], [0.1])
    assert np.isnan(table[0, 1])
    assert table[0, -1] == 100

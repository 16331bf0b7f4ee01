"""Keypoint maps, read-out and PCK against numbers of the published CRW code."""

import numpy as np
import pytest
import torch

from selfsup_motion.tasks.propagation.keypoints import (
    gaussian_maps,
    normalised_errors,
    pck,
    read_points,
)


@pytest.fixture
def published(golden):
    return golden("corrflow/f_pose_crw.npz")


def clips(published):
    """Predicted and true points (T, 15, 2) of the three clips, in pixels counted from 0."""
    for index in range(3):
        height, width = published[f"hw{index}"]
        cells = published[f"pred{index}"].transpose(2, 1, 0)
        yield cells / 40 * (width, height), published[f"gt{index}"].transpose(2, 1, 0) - 1


@pytest.mark.parametrize(("sigma", "name"), [(0.5, "lab_maps_s05"), (2, "lab_maps_s2")])
def test_dots_equal_the_published_ones(published, sigma, name):
    maps = gaussian_maps(published["lab_pts"], (40, 40), sigma)
    np.testing.assert_allclose(maps[1:], published[name], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(maps[0], published[name].sum(0) == 0)


def test_read_out_equals_the_published_one(published):
    maps = torch.from_numpy(published["pose_in"]).permute(2, 0, 1)
    np.testing.assert_allclose(read_points(maps).T, published["pose_xy"], rtol=0, atol=1e-9)


def test_errors_equal_the_published_ones(published):
    errors = np.concatenate([normalised_errors(*clip)[1:] for clip in clips(published)])
    for joint in range(15):
        ours = errors[:, joint][np.isfinite(errors[:, joint])]
        np.testing.assert_allclose(ours, published[f"dist{joint}"], rtol=0, atol=1e-9)


def test_pck_equals_the_published_one(published):
    ours = pck([normalised_errors(*clip) for clip in clips(published)], published["thr"])
    np.testing.assert_allclose(ours, published["pck"], rtol=0, atol=1e-9)

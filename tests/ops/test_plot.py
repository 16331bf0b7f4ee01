"""Curves drawn as pictures."""

import numpy as np

from selfsup_motion.ops.plot import plot_curves

AXES = {"title": "quality", "x_label": "points"}


def test_a_higher_value_is_drawn_higher():
    low = plot_curves([1, 2], {"a": [0.2, 0.2]}, top=1.0, **AXES)
    high = plot_curves([1, 2], {"a": [0.8, 0.8]}, top=1.0, **AXES)
    assert low.dtype == np.uint8
    assert low.shape == high.shape == (300, 420, 3)
    rows = [np.flatnonzero(colourful(picture).sum(1) > 200) for picture in (low, high)]
    assert rows[0].mean() > rows[1].mean() + 50


def test_missing_values_and_empty_curves_leave_a_gap():
    bare = plot_curves([1, 2], {}, **AXES)
    assert not colourful(bare).any()
    gap = plot_curves([1, 2, 4], {"a": [0.5, float("nan"), 0.5]}, top=1.0, **AXES)
    assert colourful(gap).any()


def colourful(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 60

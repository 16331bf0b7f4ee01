from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.ops import flow_color
from selfsup_motion.ops.flow import flow_to_color


def test_stillness_is_white_and_unknown_flow_is_black():
    flow = np.zeros((2, 4, 5), np.float32)
    flow[0, 1, 2] = np.nan
    flow[1, 3, 4] = 1e9
    image = flow_to_color(flow)
    black = np.zeros((4, 5), bool)
    black[1, 2] = black[3, 4] = True
    np.testing.assert_array_equal(image, np.where(black, 0, 255)[None].repeat(3, 0))


def test_flow_is_not_modified():
    flow = np.full((2, 3, 3), np.nan, np.float32)
    flow_to_color(flow)
    assert np.isnan(flow).all()


def test_images_of_a_batch_are_painted_independently_and_like_arrays():
    flow = torch.randn(2, 3, 2, 8, 9, generator=torch.Generator().manual_seed(0))
    flow[1] *= 20
    painted = flow_to_color(flow)
    assert painted.dtype == torch.uint8
    assert painted.shape == (2, 3, 3, 8, 9)
    np.testing.assert_array_equal(painted[1, 2], flow_to_color(flow[1, 2].numpy()))


def test_large_images_are_painted_in_strips(monkeypatch):
    flow = np.random.default_rng(0).normal(0, 9, (3, 2, 7, 5)).astype(np.float32)
    at_once = flow_to_color(flow, 12.0)
    monkeypatch.setattr(flow_color, "_AT_ONCE", 60)
    np.testing.assert_array_equal(flow_to_color(flow, 12.0), at_once)


def test_a_fixed_scale_makes_images_comparable():
    flow = np.zeros((2, 4, 4), np.float32)
    flow[0] = 6
    louder = flow.copy()
    louder[0, 0, 0] = 60
    same = (flow_to_color(flow, 10) == flow_to_color(louder, 10)).all(0)
    assert same[1:].all()
    assert not same[0, 0]
    assert (flow_to_color(flow) != flow_to_color(louder)).any(0)[1:].all()


def test_what_is_not_flow_is_refused():
    with pytest.raises(ValueError, match=r"flow must be \(…, 2, H, W\)"):
        flow_to_color(np.zeros((4, 5, 2), np.float32))
    with pytest.raises(ValueError, match="max_magnitude must be positive"):
        flow_to_color(np.zeros((2, 4, 5), np.float32), max_magnitude=0)

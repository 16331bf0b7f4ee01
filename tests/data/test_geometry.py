from __future__ import annotations

import numpy as np
import pytest

from selfsup_motion.data import geometry


def test_flow_vectors_grow_with_their_axis() -> None:
    flow = np.ones((10, 20, 2), np.float32)
    resized = geometry.resize_flow(flow, (30, 40))
    assert resized.shape == (30, 40, 2)
    np.testing.assert_allclose(resized[..., 0], 2, rtol=1e-6)
    np.testing.assert_allclose(resized[..., 1], 3, rtol=1e-6)
    np.testing.assert_allclose(geometry.resize_flow(flow, (30, 40), ratio=5), 5, rtol=1e-6)


def test_a_pixel_that_mixes_in_an_unknown_one_is_unknown() -> None:
    valid = np.ones((20, 20), bool)
    valid[8, 8] = False
    resized = geometry.resize_valid(valid, (40, 40))
    assert not resized[16:18, 16:18].any()
    assert resized[:12].all()
    assert geometry.resize_valid(np.ones((20, 20), bool), (7, 9)).all()


@pytest.mark.parametrize("size", [(240, 321), (321, 240), (480, 853), (97, 64)])
def test_short_side_sizes_round_where_the_published_ones_cut_off(size: tuple[int, int]) -> None:
    ours, published = (
        rule(size, 64) for rule in (geometry.short_side_size, geometry.published_size)
    )
    assert min(ours) == min(published) == 64
    exact = max(size) * 64 / min(size)
    assert abs(max(ours) - exact) <= 0.5
    assert 0 <= exact - max(published) < 1


def test_padding_is_half_on_either_side() -> None:
    assert geometry.padding((90, 120), (101, 64)) == ((5, 6), (0, 0))
    assert geometry.padding((90, 120), (90, 64)) is None


@pytest.mark.parametrize("size", [(20, 30), (80, 120)])
def test_images_keep_their_brightness(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(80, 180, (40, 60, 3), np.uint8)
    for resize in (geometry.resize_image, geometry.resize_bicubic):
        resized = resize(image, size)
        assert (resized.shape, resized.dtype) == ((*size, 3), np.uint8)
        assert resized.mean() == pytest.approx(image.mean(), abs=1.5)

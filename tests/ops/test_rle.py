"""Run lengths as COCO has them."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from selfsup_motion.ops.rle import (
    decode_masks,
    encode_masks,
    from_counts,
    from_polygons,
    pixels_covered,
)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_masks_survive_encoding_and_fill_the_image(share: float) -> None:
    masks = np.random.default_rng(0).random((5, 300, 70)) < share
    rles = encode_masks(masks)
    np.testing.assert_array_equal(decode_masks(rles, (300, 70)), masks)
    assert [pixels_covered(rle["counts"]) for rle in rles] == [300 * 70] * 5


def test_no_masks_are_no_run_lengths() -> None:
    assert encode_masks(np.zeros((0, 4, 6), np.bool_)) == []
    assert decode_masks([], (4, 6)).shape == (0, 4, 6)


def test_counts_go_down_the_columns() -> None:
    mask = decode_masks([from_counts([1, 3, 4], (2, 4))], (2, 4))[0]
    np.testing.assert_array_equal(mask, [[0, 1, 0, 0], [1, 1, 0, 0]])


def test_polygons_are_drawn_together_as_pycocotools_does() -> None:
    rng = np.random.default_rng(1)
    rings = [(rng.random(12) * 50).tolist() for _ in range(3)]
    wanted = np.any([coco_mask.decode(coco_mask.frPyObjects([r], 40, 50)) for r in rings], 0)
    drawn = decode_masks([from_polygons(rings, (40, 50))], (40, 50))[0]
    np.testing.assert_array_equal(drawn, wanted[..., 0])
    assert drawn.any()

"""Class maps go from pixels to cells and back as bilinear resizing would take them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.ops.label_cells import blur_cells, cells_to_pixels, labels_to_cells


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_cells_hold_the_shares_that_bilinear_reduction_gives(stride):
    labels = torch.randint(0, 5, (2, 24, 16), generator=torch.Generator().manual_seed(0))
    shares = F.one_hot(labels, 5).movedim(-1, 1).float()
    expected = F.interpolate(shares, scale_factor=1 / stride, mode="bilinear", align_corners=False)
    torch.testing.assert_close(labels_to_cells(labels, 5, stride), expected)


def test_blended_ids_make_a_rim_of_a_class_that_is_not_there():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, :, 2:] = 3
    shares = labels_to_cells(labels, 4, 4)
    assert shares[0, :, 0, 0].tolist() == [0.5, 0, 0, 0.5]
    assert labels_to_cells(labels, 4, 4, blend_ids=True)[0, :, 0, 0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("stride", "size"), [(4, (9, 7)), (8, (3, 1)), (2, (1, 5))])
def test_blur_equals_going_to_pixels_and_back(stride, size):
    cells = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels = cells_to_pixels(cells, stride)
    back = F.interpolate(pixels, scale_factor=1 / stride, mode="bilinear", align_corners=False)
    torch.testing.assert_close(blur_cells(cells, stride), back)


@pytest.mark.parametrize(("size", "stride"), [((10, 8), 4), ((9, 9), 3)])
def test_sizes_that_cells_do_not_fit_are_refused(size, stride):
    with pytest.raises(ValueError, match="cannot be divided into cells"):
        labels_to_cells(torch.zeros(1, *size, dtype=torch.int64), 2, stride)

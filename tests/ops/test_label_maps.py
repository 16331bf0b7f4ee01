"""Class maps go from pixels to cells and back as bilinear resizing would take them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.ops.label_cells import (
    blur_cells,
    cells_at_labels,
    cells_to_pixels,
    labels_to_cells,
)


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


def test_values_of_the_pixels_own_labels_are_those_of_enlarged_maps():
    generator = torch.Generator().manual_seed(0)
    for (height, width), stride in (((3, 1), 8), ((2, 5), 3), ((4, 4), 1)):
        cells = torch.rand(2, 5, height, width, generator=generator, dtype=torch.float64)
        labels = torch.randint(5, (2, height * stride, width * stride), generator=generator)
        ours, whole = (cells.clone().requires_grad_() for _ in range(2))
        values = cells_at_labels(ours, labels, stride)
        expected = cells_to_pixels(whole, stride).gather(1, labels[:, None])[:, 0]
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)
        for result in (values, expected):
            result.square().sum().backward()
        torch.testing.assert_close(ours.grad, whole.grad, atol=1e-5, rtol=0)

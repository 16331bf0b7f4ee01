"""Pictures of any kind as tensors."""

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup_motion.ops.pictures import as_tensor, grey_levels

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(RGB.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    "picture",
    [TENSOR, RGB, RGB.transpose(2, 0, 1), RGB[:, :, ::-1][:, :, ::-1], Image.fromarray(RGB),
     Image.fromarray(RGB).convert("RGBA")],
)  # fmt: skip
def test_every_kind_of_picture_is_the_same_tensor(picture):
    assert torch.equal(as_tensor(picture), TENSOR)


def test_several_pictures_are_a_batch():
    batch = torch.stack([TENSOR, TENSOR])
    assert torch.equal(as_tensor([RGB, Image.fromarray(RGB)]), batch)
    assert torch.equal(as_tensor(np.stack([RGB, RGB])), batch)


def test_a_grey_picture_has_three_equal_channels():
    grey = as_tensor(Image.fromarray(RGB[..., 0]))
    assert torch.equal(grey, TENSOR[:1].expand(3, -1, -1))


def test_floats_stay_and_mean_the_same_grey_levels():
    floats = as_tensor((RGB / 255).astype(np.float32))
    assert floats.dtype == torch.float32
    torch.testing.assert_close(grey_levels(floats), grey_levels(TENSOR))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (RGB[..., 0], "an array of a picture is (H, W, 3), RGB, or (B, H, W, 3); got (5, 7)"),
        (np.zeros((5, 7, 4)), "got (5, 7, 4)"),
        (Image.new("I;16", (7, 5)), "mode I;16 has no colours of 8 bits: convert it to RGB"),
        ([RGB, RGB[:4]], "a list holds single pictures of equal size, got [(3, 4, 7), (3, 5, 7)]"),
        ("photo.jpg", "expected a picture: a tensor (3, H, W), an array (H, W, 3)"),
        ([], "got list"),
    ],
)
def test_what_is_no_picture_is_told(picture, expected):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        as_tensor(picture)
    assert expected in str(caught.value)


@pytest.mark.parametrize("pixels", [TENSOR.int(), TENSOR.float()])
def test_numbers_that_are_no_grey_levels_are_refused(pixels):
    with pytest.raises(ValueError, match=r"uint8, or float in \[0, 1\]|has values in \[0, 1\]"):
        grey_levels(pixels)

"""Indexed PNGs: what is read, what is refused."""

import numpy as np
import pytest
from PIL import Image

from selfsup_motion.errors import UserError
from selfsup_motion.tasks.mask_files import palette, read_mask, write_mask


def test_written_mask_is_indexed_with_the_palette_of_davis(tmp_path):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "m.png", ids)
    image = Image.open(tmp_path / "m.png")
    assert image.mode == "P"
    assert image.getpalette()[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    np.testing.assert_array_equal(np.array(image), ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), ids)


def test_palette_is_that_of_davis(shared):
    path = shared / "data/davis/Annotations/480p/dog/00000.png"
    theirs = np.array(Image.open(path).getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(palette()[: len(theirs)], theirs)


def test_grey_mask_of_black_and_white_is_one_object(tmp_path):
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 1], [1, 0]]


def test_sixteen_bits_are_read_while_ids_fit(tmp_path):
    Image.fromarray(np.array([[0, 3]], np.uint16)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros((4, 4, 3), np.uint8), "is a colour image"),
        (np.full((4, 4), 256, np.uint16), "has object id 256, an indexed PNG holds ids up to 255"),
    ],
)
def test_mask_that_cannot_be_ids_is_refused(tmp_path, image, expected):
    Image.fromarray(image).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=expected) as error:
        read_mask(tmp_path / "m.png")
    assert str(tmp_path / "m.png") in str(error.value)


def test_missing_and_damaged_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "absent.png"):
        with pytest.raises(UserError, match=name):
            read_mask(tmp_path / name)

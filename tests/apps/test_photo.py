"""Photos of every kind become upright RGB."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from selfsup_motion.apps.photo import read_photo, shrunk
from selfsup_motion.data.reading.pictures import image_size
from selfsup_motion.errors import UserError

COLOUR = np.zeros((6, 9, 3), np.uint8) + np.array([200, 100, 40], np.uint8)


def test_colour_grey_and_palette(tmp_path):
    path = tmp_path / "a.png"
    for mode, expected in (("RGB", (200, 100, 40)), ("L", (123, 123, 123)), ("P", (200, 100, 40))):
        Image.fromarray(COLOUR).convert(mode).save(path)  # the palette is of web colours
        read = read_photo(path)
        assert read.shape == (3, 6, 9)
        assert np.abs(read[:, 2, 3].numpy().astype(int) - expected).max() <= 12


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.dstack([COLOUR, np.zeros((6, 9), np.uint8)])
    rgba[:, 4:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    read = read_photo(tmp_path / "a.png")
    assert read[:, 0, 0].tolist() == [255, 255, 255]
    assert read[:, 0, 8].tolist() == [200, 100, 40]


def test_sixteen_bits_become_eight(tmp_path):
    for shape in ((6, 9), (6, 9, 3)):
        cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 0x8000, np.uint16))
        assert read_photo(tmp_path / "a.png").unique().tolist() == [128]


def test_cmyk_is_converted(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    read = read_photo(tmp_path / "a.jpg")[:, 2, 3].numpy().astype(int)
    assert np.abs(read - (200, 100, 40)).max() < 12


def test_photos_are_turned_upright(tmp_path):
    pixels = np.zeros((6, 9, 3), np.uint8)
    pixels[:3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=98)
    read = read_photo(tmp_path / "a.jpg")
    assert read.shape == (3, 9, 6)
    assert read[:, :, 4:].float().mean() > 240
    assert read[:, :, :2].float().mean() < 15


def test_one_pixel_is_a_photo(tmp_path):
    Image.fromarray(COLOUR[:1, :1]).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").flatten().tolist() == [200, 100, 40]


def test_large_photos_are_shrunk_if_asked_for(tmp_path):
    Image.fromarray(np.repeat(COLOUR, 10, 0)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png", max_side=30).shape == (3, 30, 4)
    assert read_photo(tmp_path / "a.png", max_side=300).shape == (3, 60, 9)
    whole = read_photo(tmp_path / "a.png")
    assert (shrunk(whole, max_side=30) == read_photo(tmp_path / "a.png", max_side=30)).all()
    assert shrunk(whole, max_short_side=3).shape == (3, 20, 3)
    assert shrunk(whole, max_side=60, max_short_side=9) is whole


@pytest.mark.parametrize("side", [10_000, 40_000])
def test_a_hundred_megapixels_are_refused_before_they_are_decoded(tmp_path, side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: a photo.* more than 50 megapixels.*smaller"):
        read_photo(tmp_path / "a.png")


def test_what_is_no_photo_is_told(tmp_path):
    (tmp_path / "a.jpg").write_text("not a photo")
    with pytest.raises(UserError, match=r"a\.jpg cannot be decoded as an image"):
        read_photo(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"b\.jpg does not exist"):
        read_photo(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"max_side=0: expected at least 1"):
        read_photo(tmp_path / "b.jpg", max_side=0)


def test_a_huge_picture_is_told_from_a_damaged_one(monkeypatch, recwarn):
    data = io.BytesIO()
    Image.new("L", (30, 20)).save(data, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert image_size(data.getvalue(), "a.png") == (20, 30)
    assert not recwarn
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(UserError, match=r"a\.png has far too many pixels"):
        image_size(data.getvalue(), "a.png")

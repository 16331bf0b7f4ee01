"""Image files: bytes from disk, RGB from bytes."""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.errors import ClipReadError, UserError

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file; `name` is for messages.

    Raises:
        ClipReadError: there is no such file, or it is a pipe, a device, empty or forbidden.
    """
    try:
        # opening a pipe would wait for its writer
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ClipReadError(f"{name} is not a regular file.", file=name, reason="not a file")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ClipReadError(f"{name} does not exist.", file=name, reason="missing") from error
    except OSError as error:
        raise ClipReadError(f"{name} cannot be read: {error.strerror}.", file=name) from error
    if not data:
        raise ClipReadError(f"{name} is empty.", file=name, reason="empty")
    return data


def image_size(data: bytes, name: str, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) of an image file, from its header.

    Args:
        data: the file's bytes.
        name: for messages.
        upright: of the image as `decode_image` turns it.

    Raises:
        ClipReadError: not an image, or one of more pixels than Pillow opens.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                turned = upright and image.getexif().get(_ORIENTATION) in _SIDEWAYS
    except Image.DecompressionBombError as error:
        raise ClipReadError(
            f"{name} has far too many pixels: make it smaller first.", file=name
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ClipReadError(
            f"{name} cannot be decoded as an image: the file is damaged or is no image.", file=name
        ) from error
    return (width, height) if turned else (height, width)


def decode_image(data: bytes, name: str, *, upright: bool = False) -> NDArray[np.uint8]:
    """An image file as RGB.

    Args:
        data: the file's bytes.
        name: for messages.
        upright: turn it as its EXIF data says (photos); else as it is stored (frames).

    Returns:
        (H, W, 3) uint8.

    Raises:
        ClipReadError: not an image, or an incomplete one.
    """
    flags = cv2.IMREAD_COLOR_RGB
    if not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(_without_profile(data), np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV accepts
        image = None
    if image is None or _cut_off(data):
        raise ClipReadError(
            f"{name} cannot be decoded as an image: the file is damaged.", file=name
        )
    return np.asarray(image, np.uint8)


def save_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB uint8 as a PNG.

    Raises:
        UserError: the file cannot be written.
    """
    # OpenCV opens no file whose name is not UTF-8
    done, buffer = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    try:
        path.write_bytes(buffer.tobytes() if done else b"")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}).") from error


def _without_profile(data: bytes) -> bytes:
    """A PNG without its colour profile, which OpenCV does not apply. libpng looks at it all the
    same, and complains on stderr, past Python, about each one that is odd."""
    if not data.startswith(_PNG):
        return data
    place = len(_PNG)
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        after = place + 12 + size  # with the checksum
        if kind == b"iCCP":
            return data[:place] + data[after:]
        if kind in (b"PLTE", b"IDAT"):  # a profile comes before these
            break
        place = after
    return data


def _cut_off(data: bytes) -> bool:
    """Whether the end is missing; decoders fill up what is missing without a word."""
    if data[:2] == b"\xff\xd8":
        # JPEG: the end marker behind the picture's scan, not that of an embedded thumbnail
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data[:4] == b"\x89PNG" and b"IEND" not in data[-64:]

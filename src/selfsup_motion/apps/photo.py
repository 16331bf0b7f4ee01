"""Photos of any kind as RGB, upright."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from selfsup_motion.data.geometry import resize_image
from selfsup_motion.data.reading.pictures import decode_image, read_bytes
from selfsup_motion.errors import ClipReadError, UserError

MAX_MEGAPIXELS = 50
"""Larger photos take more than the 10 GB of memory that most machines have to spare."""


def read_photo(path: str | Path, max_side: int | None = None, name: str | None = None) -> Tensor:
    """A photo as RGB, turned upright as its EXIF data says.

    Grey and 16-bit pictures become 8-bit RGB, CMYK is converted, transparency is laid on white.

    Args:
        path: an image file.
        max_side: shrink it if its longer side is longer than this, in pixels.
        name: for messages; None: the path.

    Returns:
        (3, H, W) uint8.

    Raises:
        UserError: no image, a damaged one, or one of more than 50 megapixels.
    """
    name = str(path) if name is None else name
    if max_side is not None and max_side < 1:
        raise UserError(f"max_side={max_side}: expected at least 1 pixel.")
    data = read_bytes(Path(path), name)
    alpha = _alpha(data, name)
    image = decode_image(data, name, upright=True)
    if alpha is not None:
        share = alpha.astype(np.float32)[..., None] / 255
        image = np.rint(image * share + 255 * (1 - share)).astype(np.uint8)
    if max_side is not None and max(image.shape[:2]) > max_side:
        height, width = image.shape[:2]
        scale = max_side / max(height, width)
        image = resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _alpha(data: bytes, name: str) -> NDArray[np.uint8] | None:
    """(H, W) opacity, upright; None if the picture has none. Looks at its size first."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(name)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ClipReadError(
            f"{name} cannot be decoded as an image: the file is damaged or of another kind.",
            file=name,
        ) from error
    with picture:
        if picture.width * picture.height > MAX_MEGAPIXELS * 1e6:
            raise UserError(_too_large(name, f" of {picture.width}x{picture.height}"))
        if "transparency" not in picture.info and picture.mode not in ("RGBA", "LA", "PA"):
            return None
        try:
            upright = ImageOps.exif_transpose(picture.convert("RGBA"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ClipReadError(
                f"{name} cannot be decoded as an image: the file is damaged.", file=name
            ) from error
        return np.asarray(upright.getchannel("A"))


def _too_large(name: str, size: str = "") -> str:
    return (
        f"{name}: a photo{size} has more than {MAX_MEGAPIXELS} megapixels, which is too large to "
        "animate in memory: make the photo smaller first."
    )

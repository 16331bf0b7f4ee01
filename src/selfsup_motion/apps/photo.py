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
"""Photos of this size take about 2 GB of memory to animate or annotate."""


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
    _check(max_side)
    data = read_bytes(Path(path), name)
    alpha = _alpha(data, name)
    image = decode_image(data, name, upright=True)
    if alpha is not None:
        for row, opacity in zip(image, alpha, strict=True):
            share = opacity.astype(np.float32)[:, None] / 255
            row[:] = np.rint(row * share + 255 * (1 - share))
    if max_side is not None:
        image = _resized(image, max_side / max(image.shape[:2]))
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def shrunk(
    photo: Tensor, *, max_side: int | None = None, max_short_side: int | None = None
) -> Tensor:
    """A photo (3, H, W) uint8 as `read_photo` would shrink it; the same if it is small enough.

    Args:
        photo: the photo.
        max_side: most pixels of its longer side.
        max_short_side: and of its shorter one.

    Raises:
        UserError: `max_side` is below 1.
    """
    _check(max_side)
    sides = sorted(photo.shape[-2:])
    limits = (max_short_side or sides[0], max_side or sides[1])
    scale = min(limit / side for limit, side in zip(limits, sides, strict=True))
    if scale >= 1:
        return photo
    image = _resized(np.ascontiguousarray(photo.permute(1, 2, 0).numpy()), scale)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _check(max_side: int | None) -> None:
    if max_side is not None and max_side < 1:
        raise UserError(f"max_side={max_side}: expected at least 1 pixel.")


def _resized(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """(H, W, 3), made smaller."""
    if scale >= 1:
        return image
    height, width = image.shape[:2]
    return resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))


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

"""Pictures as programs have them (tensors, NumPy arrays, PIL images) as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

Picture = Tensor | NDArray[Any] | Image
"""One picture: (3, H, W) tensor; (H, W, 3) or (3, H, W) array; PIL image. RGB, uint8 or float in
[0, 1]."""
Pictures = Picture | Sequence[Picture]
"""One picture, a batch of them with another dimension in front, or a list of equal size."""

_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def as_tensor(pictures: Pictures) -> Tensor:
    """Pictures with the channels in front, of the type that they have.

    PIL images become RGB as they are stored: EXIF turns nothing, transparency is left out. An array
    whose last dimension is 3 has its channels there.

    Args:
        pictures: see `Pictures`. Tensors are returned as they are.

    Returns:
        (3, H, W), or (B, 3, H, W) for several.

    Raises:
        ValueError: a picture of 16 bits or of another number of channels, pictures of several
            sizes, or something else.
    """
    if isinstance(pictures, Tensor):
        return pictures
    if isinstance(pictures, Image):
        if pictures.mode not in _EIGHT_BIT:
            raise ValueError(
                f"a PIL image of mode {pictures.mode} has no colours of 8 bits: convert it to RGB"
            )
        return _channels_first(np.array(pictures.convert("RGB")))
    if isinstance(pictures, np.ndarray):
        return _channels_first(pictures)
    if isinstance(pictures, Sequence) and not isinstance(pictures, str) and len(pictures):
        found = [as_tensor(picture) for picture in pictures]
        shapes = {tuple(picture.shape) for picture in found}
        if len(shapes) > 1 or found[0].ndim != 3:
            raise ValueError(f"a list holds single pictures of equal size, got {sorted(shapes)}")
        return torch.stack(found)
    raise ValueError(
        "expected a picture: a tensor (3, H, W), an array (H, W, 3), a PIL image, or a list of "
        f"them; got {type(pictures).__name__}"
    )


def grey_levels(pictures: Tensor) -> Tensor:
    """Pictures in [0, 255], whatever they are in.

    Args:
        pictures: (3, H, W) or (B, 3, H, W); uint8, or float in [0, 1].

    Returns:
        Of the same shape, float32.

    Raises:
        ValueError: another type, or values beyond the range.
    """
    if pictures.dtype == torch.uint8:
        return pictures.float()
    if not pictures.is_floating_point():
        raise ValueError(f"image must be uint8, or float in [0, 1], got {pictures.dtype}")
    low, high = (float(value) for value in pictures.detach().aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"a float image has values in [0, 1], got [{low:g}, {high:g}]")
    return pictures.float() * 255


def _channels_first(array: NDArray[Any]) -> Tensor:
    if array.ndim not in (3, 4) or 3 not in (array.shape[-1], array.shape[-3]):
        raise ValueError(
            f"an array of a picture is (H, W, 3), RGB, or (B, H, W, 3); got {array.shape}"
        )
    if array.shape[-1] == 3:
        array = np.moveaxis(array, -1, -3)
    return torch.from_numpy(np.ascontiguousarray(array))

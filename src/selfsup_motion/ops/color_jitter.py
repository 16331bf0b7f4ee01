"""Colour jitter in two halves: drawn per sample (a few floats), applied per batch on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.ops.constants import constant_like

_GREY = (0.2989, 0.587, 0.114)
"""Luma of ITU-R BT.601, in torchvision's digits."""
_PIXELS_AT_ONCE = 50_000
"""On a CPU: few enough for its cache, many enough that calling PyTorch costs nothing."""


def draw_color_jitter(
    rng: np.random.Generator,
    count: int,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Tensor:
    """Draw factors for `color_jitter`, over the ranges of torchvision's ColorJitter.

    Always takes 4 · count numbers from `rng`, so that switching a part off leaves the others as
    they are.

    Args:
        rng: of the sample.
        count: 1 for a clip that is to change as one, else its number of frames.
        brightness: the factor is uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: likewise.
        saturation: likewise.
        hue: the shift is uniform in [-hue, hue], in turns of the colour circle; at most 0.5.

    Returns:
        (count, 4) float32: factors of brightness, contrast and saturation (1 changes nothing,
        saturation 0 makes grey), shift of hue (0 changes nothing).

    Raises:
        ValueError: a negative range, or hue above 0.5.
    """
    ranges = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    for name, value in ranges.items():
        most = 0.5 if name == "hue" else np.inf
        if not 0 <= value <= most:
            limit = "in [0, 0.5]" if name == "hue" else "at least 0"
            raise ValueError(f"{name} of a colour jitter must be {limit}, got {value}")
    width = np.array(list(ranges.values()))
    center = np.array([1.0, 1.0, 1.0, 0.0])
    low = center - width
    low[:3] = np.maximum(low[:3], 0)
    factors = low + (center + width - low) * rng.random((count, 4))
    return torch.from_numpy(factors.astype(np.float32))


@torch.no_grad()
def color_jitter(images: Tensor, factors: Tensor, pivot: Tensor | None = None) -> Tensor:
    """Adjust brightness, contrast, saturation and hue, in this order.

    What torchvision's `adjust_brightness`, …, `adjust_hue` do to float images, one after the other:
    values are clamped to [0, 1] after each, and contrast is about each image's own mean grey.

    Args:
        images: (…, 3, H, W) RGB, uint8 or float in [0, 1].
        factors: (…, 4) as `draw_color_jitter` makes them, on the same device; the leading
            dimensions broadcast to those of the images: (B, 1, 4) is one change per clip of
            (B, T, 3, H, W).
        pivot: (…,) grey level that contrast is about, broadcast like the factors; None: each
            image's own mean, after its change of brightness.

    Returns:
        Images of the same shape, in [0, 1]: float32 of bytes, else of their own type.

    Raises:
        ValueError: shapes that do not go together, integers that are not bytes.
    """
    _check(images, factors)
    kind = images.dtype if images.is_floating_point() else torch.float32
    pictures = images.reshape(-1, *images.shape[-3:])
    changes = factors.to(kind).expand(*images.shape[:-3], 4).reshape(-1, 4)
    means = None if pivot is None else pivot.to(kind).expand(images.shape[:-3]).reshape(-1)
    if images.device.type != "cpu":
        return _adjusted(pictures, changes, means, turn=True).view(images.shape)
    # a few at a time: they stay in the cache between the steps, a batch does not
    count = max(1, _PIXELS_AT_ONCE // max(1, images.shape[-2] * images.shape[-1]))
    out = torch.empty(pictures.shape, dtype=kind)
    for first in range(0, len(pictures), count):
        part = slice(first, first + count)
        change = changes[part]
        mean = None if means is None else means[part]
        out[part] = _adjusted(pictures[part], change, mean, turn=bool(change[:, 3].any()))
    return out.view(images.shape)


def mean_grey(images: Tensor) -> Tensor:
    """(…, 3, H, W), bytes or floats in [0, 1], to the mean grey of each, (…,) in [0, 1]."""
    means = images.mean((-2, -1), dtype=None if images.is_floating_point() else torch.float32)
    grey = means @ constant_like(_GREY, means)
    return grey if images.is_floating_point() else grey / 255


def _adjusted(
    images: Tensor, factors: Tensor, pivot: Tensor | None = None, *, turn: bool
) -> Tensor:
    """(N, 3, H, W), (N, 4) and (N,) → (N, 3, H, W) in [0, 1]; hue only if asked for."""
    brightness, contrast, saturation, hue = factors[..., None, None, None].unbind(1)
    if images.dtype == torch.uint8:
        images, brightness = images.to(factors.dtype), brightness / 255
    out = (images * brightness).clamp_(0, 1)
    if pivot is None:
        mean = _grey(out).mean((-2, -1), keepdim=True)
    else:
        mean = pivot.clamp(0, 1)[:, None, None, None]
    out.mul_(contrast).add_((1 - contrast) * mean).clamp_(0, 1)
    grey = _grey(out)
    out.mul_(saturation).add_((1 - saturation) * grey).clamp_(0, 1)
    return _turned(out, hue.squeeze(1)) if turn else out


def _grey(images: Tensor) -> Tensor:
    """(N, 3, H, W) → (N, 1, H, W)."""
    red, green, blue = images.unbind(1)
    grey = (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
    return grey.unsqueeze(1)


def _turned(images: Tensor, hue: Tensor) -> Tensor:
    """Shift the hue of (N, 3, H, W) by (N, 1, 1) turns; value and saturation of HSV stay.

    No HSV image is made: a channel is its pixel's smallest one plus the chroma times a trapezoid of
    the hue, which is in sixths of a turn here.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    # 0 where the channel is the largest, else 1: three times as fast as `where` on a CPU
    not_red, not_green = (value - red).sign_(), (value - green).sign_()
    sixths = (blue - red).add_(chroma, alpha=2)
    sixths.lerp_((red - green).add_(chroma, alpha=4), not_green)
    sixths = (green - blue).lerp_(sixths, not_red)
    # grey pixels have no hue: any will do, as their chroma is 0
    sixths.div_(chroma.clamp(min=torch.finfo(chroma.dtype).tiny)).add_(6 * hue)
    sixths.sub_((sixths / 6).floor_().mul_(6))  # `remainder` takes five times as long on a CPU
    weights = torch.stack(
        [(sixths - 3).abs_() - 1, 2 - (sixths - 2).abs_(), 2 - (sixths - 4).abs_()], 1
    ).clamp_(0, 1)
    return weights.mul_(chroma.unsqueeze(1)).add_(low.unsqueeze(1))


def _check(images: Tensor, factors: Tensor) -> None:
    if images.ndim < 3 or images.shape[-3] != 3:
        raise ValueError(f"color_jitter takes images (…, 3, H, W), got {tuple(images.shape)}")
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ValueError(f"color_jitter takes uint8 or float in [0, 1], got {images.dtype}")
    leading = images.shape[:-3]
    if factors.shape[-1:] != (4,) or not _broadcasts(factors.shape[:-1], leading):
        raise ValueError(
            f"color_jitter takes factors (…, 4) that broadcast to {tuple(leading)}, got "
            f"{tuple(factors.shape)}"
        )


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    padded = (1,) * (len(to) - len(shape)) + tuple(shape)
    return len(padded) == len(to) and all(a in (1, b) for a, b in zip(padded, to, strict=True))

"""Colour spaces."""

from __future__ import annotations

from torch import Tensor


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB to CIE Lab (D65).

    Args:
        image: (…, 3, H, W) float in [0, 1].

    Returns:
        Same shape: L in [0, 100], a and b in about [-128, 127].

    Raises:
        ValueError: integer input, whose range would be misread.
    """
    if not image.is_floating_point():
        raise ValueError(f"rgb_to_lab takes float images in [0, 1], got {image.dtype}")
    # kornia takes seconds to import; whoever only parses a configuration should not pay for it.
    from kornia.color import rgb_to_lab as kornia_rgb_to_lab

    lab: Tensor = kornia_rgb_to_lab(image)
    return lab

"""Colour spaces, and colours as classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from selfsup_motion.ops.constants import constant_like

KINETICS_CENTROIDS = (
    (10.227486, -25.504368), (9.171862, -5.480245), (38.079754, -55.176968),
    (13.772419, 29.932201), (-22.905138, 4.349820), (0.369492, -7.300689),
    (-5.354467, -13.474063), (-9.102161, 43.392689), (2.854264, -18.042883),
    (-1.222658, 21.684948), (-7.967910, -0.256643), (33.955364, 15.078691),
    (22.351770, -38.779991), (5.728354, 8.647943), (54.295120, -73.889359),
    (0.193378, 0.032210),
)  # fmt: skip
"""CorrFlow's 16 colours (a, b) of Lab, fitted by its authors to Kinetics."""

_WHITE = np.array([[0.95047], [1.0], [1.08883]])
"""D65 in XYZ."""
_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
"""Of linear sRGB (ITU-R BT.709)."""
# lists, since a compiled or exported network would have to call NumPy
_TO_SHARES: list[list[float]] = (_TO_XYZ / _WHITE).tolist()
_FROM_SHARES: list[list[float]] = (np.linalg.inv(_TO_XYZ) * _WHITE.T).tolist()
_DARK, _DARK_ROOT = 0.008856, 0.2068966
"""Below this share of white Lab is linear; and its cube root."""

_MOST = 10.0
"""An image in [0, 255] gets here; one in [0, 1] does not when it is resampled, nor does the noise
that a network is tried with."""


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB to CIE Lab (D65).

    Args:
        image: (…, 3, H, W) float in [0, 1].

    Returns:
        Same shape: L in [0, 100], a and b in about [-128, 127].

    Raises:
        ValueError: an image in [0, 255], of integers or of floats. Values are looked at on a CPU
            only, which takes 1 % of the time; a GPU would have to be waited for.
    """
    if not image.is_floating_point():
        raise ValueError(f"rgb_to_lab takes float images in [0, 1], got {image.dtype}")
    _refuse_levels(image)
    rgb = image.to(torch.promote_types(image.dtype, torch.float32))
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055).clamp(min=0) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mixed(linear, _TO_SHARES)
    roots = torch.where(xyz > _DARK, xyz.clamp(min=_DARK) ** (1 / 3), 7.787 * xyz + 4 / 29)
    x, y, z = roots.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3).to(image.dtype)


def _refuse_levels(image: Tensor) -> None:
    if torch.compiler.is_compiling() or image.device.type != "cpu" or image.numel() == 0:
        return
    largest = float(image.detach().amax())
    if largest > _MOST:
        raise ValueError(f"rgb_to_lab takes float images in [0, 1], got values up to {largest:g}")


def unit_lab(image: Tensor) -> Tensor:
    """sRGB in [0, 1] to Lab in about [-1, 1]: (L - 50) / 50, a / 127, b / 127 (MAST, section 3.2).

    Shapes and errors as of `rgb_to_lab`.
    """
    lab = rgb_to_lab(image)
    scale = constant_like((50.0, 127.0, 127.0), lab).view(3, 1, 1)
    return (lab - constant_like((50.0, 0.0, 0.0), lab).view(3, 1, 1)) / scale


def lab_to_rgb(image: Tensor) -> Tensor:
    """CIE Lab (D65) to sRGB, clamped to [0, 1]; shapes as of `rgb_to_lab`."""
    lightness, a, b = image.to(torch.promote_types(image.dtype, torch.float32)).unbind(-3)
    y = (lightness + 16) / 116
    roots = torch.stack([y + a / 500, y, (y - b / 200).clamp(min=0)], -3)
    xyz = torch.where(roots > _DARK_ROOT, roots**3, (roots - 4 / 29) / 7.787)
    linear = _mixed(xyz, _FROM_SHARES)
    bright = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, 12.92 * linear).clamp(0, 1).to(image.dtype)


def _mixed(image: Tensor, rows: list[list[float]]) -> Tensor:
    """Each channel of (…, 3, H, W) as a sum of all, by a row of numbers. No matrix product,
    which would be one of 16 bits under autocast."""
    first, second, third = image.unbind(-3)
    return torch.stack([p * first + q * second + r * third for p, q, r in rows], -3)


class LabQuantizer(nn.Module):
    """Colours as classes: the nearest of a few centroids in the plane of a and b (CorrFlow).

    Args:
        centroids: (K, 2) a, b of Lab; the index of a row is the class.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """

    centroids: Tensor

    def __init__(self, centroids: Sequence[Sequence[float]] = KINETICS_CENTROIDS) -> None:
        super().__init__()
        values = torch.as_tensor([list(row) for row in centroids], dtype=torch.float32)
        if values.ndim != 2 or values.shape[1] != 2 or not values.isfinite().all():
            raise ValueError(f"centroids must be (K, 2) finite numbers, got {tuple(values.shape)}")
        self.register_buffer("centroids", values)

    def __len__(self) -> int:
        return len(self.centroids)

    def forward(self, lab: Tensor) -> Tensor:
        """Classify pixels.

        Args:
            lab: (…, 3, H, W) float Lab.

        Returns:
            (…, H, W) int64 in [0, K): the nearest centroid, the first of equally near ones.
        """
        pixels = lab[..., 1:, :, :].movedim(-3, -1)
        # |x - c|² without |x|²; in float32 also under autocast, as the differences are small
        with torch.autocast(lab.device.type, enabled=False):
            centroids = self.centroids.to(torch.promote_types(pixels.dtype, torch.float32))
            half = 0.5 * centroids.square().sum(1)
            classes: Tensor = (half - pixels.to(centroids.dtype) @ centroids.T).argmin(-1)
        return classes

    def decode(self, probabilities: Tensor) -> Tensor:
        """Expected colour: (…, K, H, W) → (…, 2, H, W), a and b."""
        return torch.einsum("...khw,kc->...chw", probabilities, self.centroids)

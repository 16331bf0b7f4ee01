"""Masks whose values were blurred: saved as JPEG, drawn with soft edges, resized."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.mask_images import MaskImage, flat, pack, rim, unpack, used
from selfsup_motion.ops.palette import palette

_SPREAD = 0.15
"""How far noise moves a level, as a share of the range of values."""

_NOISE = 0.04
"""Range of the levels of neighbours within a surface."""

_BETWEEN = 0.25
"""From here on a pixel lies between two levels."""

_MOST_BETWEEN = 0.25
"""Share of the pixels that may lie there, or it is a map of scores or a photo."""

_FEWEST_PIXELS = 9
_DARK = 0.15
_LOWEST_TOP = 64
"""JPEG does not keep ids apart that are closer than this."""

_USUAL = frozenset(pack(palette()).tolist())


@dataclass(frozen=True)
class TwoLevels:
    """What a soft mask of one object was before.

    Attributes:
        background: (C,) in units of `top`; C is 1 or 3.
        object: (C,) likewise.
        top: largest value of a channel.
    """

    background: NDArray[np.float64]
    object: NDArray[np.float64]
    top: int

    def threshold(self, image: MaskImage) -> NDArray[np.uint8]:
        """(H, W) 1 where a pixel is closer to the object's level than to the background's."""
        axis = self.object - self.background
        middle = float((self.object + self.background) @ axis) / 2
        found: NDArray[np.uint8] = (_levels(image, self.top) @ axis > middle).astype(np.uint8)
        return found

    def fits(self, image: MaskImage) -> bool:
        """Whether the image has no other level."""
        if _channels(image) != len(self.object):
            return not image.values.any()
        levels = _levels(image, self.top)
        off = [np.abs(levels - level).max(-1) for level in (self.background, self.object)]
        between = np.minimum(*off) > _BETWEEN
        return bool(
            between.mean() < _MOST_BETWEEN
            and not _large(between & _even(levels, image.lossy), levels)
        )


def is_soft(image: MaskImage) -> bool:
    """Whether most values of a mask are mixtures of others instead of ids or colours of objects.

    An object nearly always has a pixel all of whose neighbours belong to it too; a mixture, as soft
    edges and JPEG make them, hardly ever.
    """
    if image.colours is not None:
        chosen = pack(image.colours)[np.minimum(used(image.values), len(image.colours) - 1)]
        return not set(chosen.tolist()) <= _USUAL and is_soft(image.as_colours())
    values = used(image.values)
    if len(values) < 3:
        return image.lossy and not _clean(values)
    if image.lossy:
        return True
    if image.kind == "grey" and values[-1] == len(values) - 1 and values[-1] < 8:
        return False  # 0, 1, 2, …
    solid = used(image.values[flat(image.values)])
    thin = np.setdiff1d(values, solid)
    if len(thin) >= 3:
        return len(thin) > len(values) / 2 or len(values) > 256
    return image.kind == "grey" and len(solid) == 2 and _all_between(image, thin)


def two_levels(image: MaskImage) -> TwoLevels | None:
    """The levels of background and object, or None if they cannot be told without doubt."""
    top = max(int(image.values.max()), 1) if image.kind == "grey" else 255
    if image.lossy and top < _LOWEST_TOP:
        return None
    levels = _levels(image, top)
    centres = _large(_even(levels, image.lossy), levels)
    if len(centres) != 2:
        return None
    background, thing = sorted(centres, key=lambda level: float(level.max()))
    if background.max() > _DARK:
        if image.kind == "grey":
            return None
        border = _levels(MaskImage(image.kind, rim(image.values)[None]), top)[0]
        nearer = np.abs(border - background).max(-1) < np.abs(border - thing).max(-1)
        if nearer.mean() < 0.5:
            background, thing = thing, background
    found = TwoLevels(background, thing, top)
    return found if found.fits(image) else None


def _large(where: NDArray[np.bool_], levels: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The levels around which the chosen pixels lie, those of most pixels first."""
    rest = levels[where]
    centres: list[NDArray[np.float64]] = []
    while len(rest) >= _FEWEST_PIXELS and len(centres) < 3:
        kinds, counts = np.unique(np.rint(rest * 255), axis=0, return_counts=True)
        centre = kinds[counts.argmax()] / 255
        near = np.abs(rest - centre).max(-1) <= _SPREAD
        if near.sum() >= _FEWEST_PIXELS:
            centres.append(centre)
        rest = rest[~near]
    return centres


def _even(levels: NDArray[np.float64], lossy: bool) -> NDArray[np.bool_]:
    """(H, W) bool: the 3 x 3 neighbours of a pixel have its level, up to what JPEG makes of it."""
    kernel = np.ones((3, 3), np.uint8)
    ranges = cv2.dilate(levels, kernel) - cv2.erode(levels, kernel)
    even: NDArray[np.bool_] = ranges.reshape(levels.shape).max(-1) <= (_NOISE if lossy else 0)
    return even


def _levels(image: MaskImage, top: int) -> NDArray[np.float64]:
    """(H, W, C) in units of `top`."""
    if image.kind == "grey":
        return image.values[..., None] / top
    return unpack(image.values) / top


def _channels(image: MaskImage) -> int:
    return 1 if image.kind == "grey" else 3


def _clean(values: NDArray[np.int64]) -> bool:
    """Whether these are the values of a mask that JPEG has left as it was."""
    return set(values.tolist()) <= {0, 255}


def _all_between(image: MaskImage, thin: NDArray[np.int64]) -> bool:
    """Whether the pixels of these values lie between lower and higher ones."""
    exact = image.values.astype(np.float64)
    kernel = np.ones((3, 3), np.uint8)
    inside = (exact > cv2.erode(exact, kernel)) & (exact < cv2.dilate(exact, kernel))
    chosen = np.isin(image.values, thin)
    return bool(chosen.any() and inside[chosen].mean() > 0.9)

"""Where arrows, pins and clicks are put on a photo whose object is known. Imports no PyTorch.

All points come from the mask and from the photo's name, so that whoever answers is asked the same.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Points = NDArray[np.float32]

Asked = Literal["arrow_0", "arrow_4", "arrow_15", "click_1", "click_33"]
"""An arrow with so many pins; one click; three clicks on the object and three beside it."""
ASKED: tuple[Asked, ...] = get_args(Asked)
LENGTH = 0.05
"""Of the arrow. This and all lengths below are shares of the image's short side."""
RIM = 0.03
"""Width of the image's border where every other pin is."""
_PIN_GAP = 0.02
"""Pins are farther from the object."""
_RING = (0.04, 0.20)
"""Clicks beside the object are so far from it."""
_PINS = 15
_CORE = 0.3
"""Clicks on the object are where the distance to its outline is above this share of its maximum."""
_CLICKS = 3
"""On the object, and as many beside it."""
_TRIES = 10


@dataclass(frozen=True)
class Question:
    """Points on one photo; x, y in pixels.

    Attributes:
        point: (1, 2), the innermost pixel of the object.
        vector: (1, 2), where it is to go.
        pins: (15, 2) outside the object; the first four are the four pins.
        positive: (3, 2) on the object; the first one is `point`.
        negative: (3, 2) beside it.
    """

    point: Points
    vector: Points
    pins: Points
    positive: Points
    negative: Points

    def arrow(self, pins: int) -> tuple[Points, Points]:
        """The arrow and so many pins: points and vectors, (1 + pins, 2) each."""
        still = np.zeros((pins, 2), np.float32)
        return np.concatenate([self.point, self.pins[:pins]]), np.concatenate([self.vector, still])


def question_of(name: str, mask: Mask) -> Question:
    """Choose the points for an object.

    Args:
        name: of the photo; seeds the choice.
        mask: (H, W), not empty and not everything.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    side = min(mask.shape)
    depth = _depth(mask)
    y, x = np.unravel_index(depth.argmax(), mask.shape)
    point = np.array([[x, y]], np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    vector = LENGTH * side * np.array([[np.cos(angle), np.sin(angle)]], np.float32)

    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) / side
    free = away > _PIN_GAP
    width = max(1, round(RIM * side))
    rim = np.ones_like(mask)
    rim[width:-width, width:-width] = False
    pins = _spread([_or(free & rim, ~mask), _or(free, ~mask)], _PINS, [], rng)
    core = depth > _CORE * depth.max()
    positive = _spread([core], _CLICKS, [point[0]], rng)
    ring = (away > _RING[0]) & (away < _RING[1])
    negative = _spread([_or(ring, ~mask)], _CLICKS, [], rng)
    return Question(point, vector, pins, positive, negative)


def pins_of(asked: Asked) -> int | None:
    """The number of pins beside an arrow; None: clicks are asked about."""
    kind, _, number = asked.partition("_")
    return int(number) if kind == "arrow" else None


def moved(flow: NDArray[np.float32]) -> Mask:
    """(H, W): what moves farther than half the arrow in flow (2, H, W), the answer to an arrow."""
    far: Mask = np.hypot(*flow) > LENGTH * min(flow.shape[1:]) / 2
    return far


def iou(region: Mask, mask: Mask, void: Mask | None = None) -> float:
    """Intersection over union, void pixels left out; 0 if there is neither."""
    if void is not None:
        region = region & ~void
    return float((region & mask).sum() / max(1, (region | mask).sum()))


def _depth(mask: Mask) -> NDArray[np.float32]:
    """Distance of each pixel to the nearest one outside the mask or the image."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def _or(where: Mask, otherwise: Mask) -> Mask:
    return where if where.any() else otherwise


def _spread(
    regions: list[Mask], count: int, first: list[Points], rng: np.random.Generator
) -> Points:
    """Points from the regions by turns, each the farthest of ten random ones from those before.

    Args:
        regions: none of them empty.
        count: of points in all.
        first: points that are there already.
        rng: all randomness.

    Returns:
        (count, 2) x, y.
    """
    chosen = list(first)
    for number in range(len(first), count):
        region = regions[number % len(regions)]
        y, x = np.divmod(rng.choice(np.flatnonzero(region), _TRIES), region.shape[1])
        places = np.stack([x, y], 1).astype(np.float32)
        best = 0
        if chosen:
            gaps = np.linalg.norm(places[:, None] - np.array(chosen)[None], axis=-1).min(1)
            best = int(gaps.argmax())
        chosen.append(places[best])
    return np.array(chosen, np.float32)

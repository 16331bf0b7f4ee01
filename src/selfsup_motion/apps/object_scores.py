"""The scores of `annotate`: how much each pixel belongs to the object that was clicked on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.apps.motion import encode
from selfsup_motion.methods.cmp.clicks import click_score, zoom_square
from selfsup_motion.methods.cmp.propagate import EncodedImages
from selfsup_motion.ops.mask_refinement import refine_grabcut, refine_guided
from selfsup_motion.ops.pictures import Picture, as_tensor
from selfsup_motion.weights.trained_cmp import Weights

__all__ = ["LookedAt", "probe", "refine_grabcut", "refine_guided", "zoom_square"]


class LookedAt:
    """A photo that a network is asked about again and again: each part of it is encoded once.

    Attributes:
        photo: (3, H, W) uint8.
    """

    def __init__(self, weights: Weights, photo: Picture) -> None:
        """Nothing is computed yet.

        Args:
            weights: the network.
            photo: RGB uint8, see `ops.pictures.Picture`.
        """
        self.photo = as_tensor(photo)
        self._weights = weights
        self._encoded: dict[tuple[int, ...], EncodedImages] = {}

    def encode(self) -> None:
        """Look at the whole photo now, so that the first answer is as fast as the others."""
        self._encode(self.photo)

    def move(self, part: Tensor, points: Tensor, vectors: Tensor) -> Iterator[Tensor]:
        """See `methods.cmp.clicks.Move`; of the photo or of a rectangle cut out of it."""
        return self._encode(part).one_by_one(points, vectors)

    def _encode(self, part: Tensor) -> EncodedImages:
        # parts share the photo's memory, so where one begins and how large it is tells which it is
        key = part.storage_offset(), *part.shape
        if key not in self._encoded:
            for old in list(self._encoded)[1:]:  # beside the first, only the last one is kept
                del self._encoded[old]
            self._encoded[key] = encode(self._weights, part)
        return self._encoded[key]


def probe(
    weights: Weights,
    image: Picture | LookedAt,
    positive: NDArray[np.float32],
    negative: NDArray[np.float32],
    *,
    zoom: float | None = None,
) -> NDArray[np.float32]:
    """Score how much each pixel belongs to the object that points lie on.

    Args:
        weights: the network.
        image: RGB uint8, see `ops.pictures.Picture`; or what the network has seen of it before.
        positive: (K, 2), x, y on the object; at least one.
        negative: (L, 2), x, y beside it.
        zoom: see `click_score`.

    Returns:
        (H, W) float32 in [0, 1]; see `click_score`.
    """
    if isinstance(image, LookedAt):
        return click_score(image.move, image.photo, positive, negative, zoom=zoom)

    def move(part: Tensor, points: Tensor, vectors: Tensor) -> Tensor:
        part = part.to(weights.method.device)
        return weights.method.propagate(part, points, vectors, short_side=weights.short_side)

    return click_score(move, as_tensor(image), positive, negative, zoom=zoom)

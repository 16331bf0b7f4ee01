"""Features of a frame for several that follow labels with one encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.tasks.features.frame_encoder import FrameEncoder, finite
from selfsup_motion.tasks.propagation.frame_size import resized


class SharedFrameEncoder(FrameEncoder):
    """A `FrameEncoder` that keeps what it has made of the latest frame, for each of its sizes.

    Those that go through a video side by side, frame by frame, get the very same features, and
    each frame is encoded once for each size. Nothing of earlier frames is kept.

    Attributes:
        encoded: how often a frame was encoded.
    """

    _latest: Tensor | None = None
    encoded = 0

    def of_frame(self, frame: Tensor, size: tuple[int, int]) -> Tensor:
        """Features of a frame that is resized to `size` before, see `features_of`."""
        if frame is not self._latest:
            self._latest, self._known = frame, dict[tuple[int, int], Tensor]()
        if size not in self._known:
            self._known[size] = _computed(self, frame, size)
            self.encoded += 1
        return self._known[size]


def features_of(
    encoder: FrameEncoder,
    frame: Tensor,
    size: tuple[int, int],
    more_scales: Sequence[float] = (),
) -> Tensor:
    """Features of a frame.

    Args:
        encoder: makes them.
        frame: (3, H, W) in [0, 255].
        size: (height, width) that it is resized to before.
        more_scales: it is encoded at these multiples of `size` as well. Features of all scales are
            brought to unit length and to the cells of `size`, and averaged: what a small scale
            knows of the surroundings joins the borders that a large one knows.

    Returns:
        (C, h, w) float32.

    Raises:
        UserError: they are not finite.
    """
    features = _at_size(encoder, frame, size)
    if not more_scales:
        return features
    features = F.normalize(features, dim=0)
    for scale in more_scales:
        scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        other = F.interpolate(
            _at_size(encoder, frame, scaled)[None],
            features.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        features = features + F.normalize(other[0], dim=0)
    return features / (1 + len(more_scales))


def _at_size(encoder: FrameEncoder, frame: Tensor, size: tuple[int, int]) -> Tensor:
    if isinstance(encoder, SharedFrameEncoder):
        return encoder.of_frame(frame, size)
    return _computed(encoder, frame, size)


def _computed(encoder: FrameEncoder, frame: Tensor, size: tuple[int, int]) -> Tensor:
    features: Tensor = encoder(resized(frame.to(encoder.device)[None], size))
    return finite(features[0])

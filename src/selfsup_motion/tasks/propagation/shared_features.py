"""Features of a frame for several that follow labels with one encoder."""

from __future__ import annotations

from torch import Tensor

from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
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
        """See `features_of`."""
        if frame is not self._latest:
            self._latest, self._known = frame, dict[tuple[int, int], Tensor]()
        if size not in self._known:
            self._known[size] = _computed(self, frame, size)
            self.encoded += 1
        return self._known[size]


def features_of(encoder: FrameEncoder, frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) of a frame (3, H, W) in [0, 255] that is resized to `size` before."""
    if isinstance(encoder, SharedFrameEncoder):
        return encoder.of_frame(frame, size)
    return _computed(encoder, frame, size)


def _computed(encoder: FrameEncoder, frame: Tensor, size: tuple[int, int]) -> Tensor:
    features: Tensor = encoder(resized(frame.to(encoder.device)[None], size))
    return features[0]

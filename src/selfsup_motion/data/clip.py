"""`Clip`: a few frames of one video with everything that is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FlowOrigin = Literal["true", "estimated", "stored"]
"""Where flow comes from: ground truth, an estimator, or files that do not say."""


@dataclass(frozen=True)
class Clip:
    """T frames of one video.

    Arrays are indexed channel-first; a source may hand out views whose memory is channel-last
    (`array.transpose(0, 3, 1, 2)` of a decoder's output), so that OpenCV can take
    `frames[t].transpose(1, 2, 0)` without a copy.
    """

    frames: NDArray[np.uint8]
    """(T, 3, H, W) uint8, RGB."""
    key: str
    """Names the video, stable and unique within its source; for people and for logs."""
    times: NDArray[np.float64] | None = None
    """(T,) seconds from the start of the video."""
    flow: NDArray[np.float32] | None = None
    """(T-1, 2, H, W) float32: where the pixels of frame t are in frame t+1, as (x right, y down)
    displacement in pixels of this resolution. (T, 2, H, W) if the frame that the last one leads to
    is known but was not decoded (`Source.first_frame_only`)."""
    valid: NDArray[np.bool_] | None = None
    """(T-1, H, W) bool, or as many as `flow`: where it can be trusted (visible in both frames).
    None: everywhere."""
    flow_origin: FlowOrigin = "stored"
    """How far `flow` can be called the motion."""
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    """Further ground truth, if the source has it: `masks` (T, H, W), ids of objects from 1 to 255
    and 0 for the background; `keypoints` (T, K, 3); `action` (); …"""

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"Clip.frames must be uint8 (T, 3, H, W), got {self.frames.dtype} "
                f"{self.frames.shape} for {self.key!r}"
            )
        length, _, height, width = self.frames.shape
        fields = length - 1
        if self.flow is not None and len(self.flow) == length:
            fields = length
        if self.flow is not None and self.flow.shape != (fields, 2, height, width):
            raise ValueError(
                f"Clip.flow must be {(length - 1, 2, height, width)}, got {self.flow.shape} "
                f"for {self.key!r}"
            )
        if self.valid is not None and self.valid.shape != (fields, height, width):
            raise ValueError(
                f"Clip.valid must be {(fields, height, width)}, got {self.valid.shape} "
                f"for {self.key!r}"
            )
        masks = self.labels.get("masks")
        if masks is not None and masks.size and masks.dtype.itemsize > 1:
            low, high = masks.min(), masks.max()
            if not 0 <= low <= high <= 255:  # views and tasks keep ids in bytes
                raise ValueError(
                    f"Clip.labels['masks'] has ids from 0 to 255, got {low} to {high} for "
                    f"{self.key!r}"
                )

"""Optical flow of the frames of a clip, estimated where the clip is read."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.errors import UserError

_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


FlowName = Literal["stored", "dis", "raft_small", "raft_large"]
"""Where flow comes from: files, or an estimator in the workers (dis) or on the device (raft)."""

ON_DEVICE = ("raft_small", "raft_large")


def in_workers(
    flow: FlowName | None, preset: Literal["ultrafast", "fast", "medium"], check: bool
) -> DISFlow | None:
    """The estimator that a source runs itself; None: flow is stored, comes from the device, or not.

    Args:
        flow: the `flow` option of a source.
        preset: of DIS.
        check: of DIS.

    Raises:
        UserError: `flow` is something else.
    """
    if flow == "dis":
        return DISFlow(preset, check)
    if flow is None or flow == "stored" or flow in ON_DEVICE:
        return None
    raise UserError(
        f"flow {flow!r} is unknown: choose stored, dis, raft_small, raft_large or null."
    )


class DISFlow:
    """Dense inverse search (Kroeger et al. 2016), as in OpenCV, on grey frames.

    Good on natural motion, at about a millisecond a pair; poor on small objects that move far. With
    `check`, pixels are valid whose forward and backward flow agree as in Sundaram et al. 2010
    (eq. 5) and that stay inside the frame; it doubles the cost.
    """

    def __init__(
        self, preset: Literal["ultrafast", "fast", "medium"] = "fast", check: bool = True
    ) -> None:
        if preset not in _PRESETS:
            raise UserError(f"flow_preset {preset!r} is unknown: choose one of {[*_PRESETS]}.")
        self.preset = preset
        self.check = check
        self._dis: Any = None
        self._size = (0, 0)

    def __call__(
        self, frames: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Estimate.

        Args:
            frames: (T, H, W, 3) uint8 RGB, at least 12 pixels on a side.

        Returns:
            (T-1, 2, H, W) float32 flow in pixels, (x right, y down), and (T-1, H, W) bool validity,
            None without `check`.
        """
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        height, width = grey[0].shape
        if self._dis is None or self._size != (height, width):
            # made where it is used: it cannot be pickled; and anew for another size: OpenCV's then
            # keeps the scales of the first one, and its flow depends on what it saw before
            self._dis, self._size = (
                cv2.DISOpticalFlow.create(_PRESETS[self.preset]),
                (height, width),
            )
        flow = np.empty((len(grey) - 1, 2, height, width), np.float32)
        valid = np.empty((len(grey) - 1, height, width), np.bool_) if self.check else None
        for t in range(len(grey) - 1):
            forward = self._dis.calc(grey[t], grey[t + 1], None)
            flow[t] = forward.transpose(2, 0, 1)
            if valid is not None:
                backward = self._dis.calc(grey[t + 1], grey[t], None)
                valid[t] = consistent(forward, backward)
        return flow, valid

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_dis": None}


def consistent(forward: NDArray[np.float32], backward: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where going forth and back leads to where one came from.

    |f + b(x + f)|² < 0.01 (|f|² + |b(x + f)|²) + 0.5 (Sundaram et al. 2010, eq. 5).

    Args:
        forward: (H, W, 2) flow from frame t to t+1.
        backward: (H, W, 2) flow from frame t+1 to t.

    Returns:
        (H, W) bool; False also where the flow leaves the frame.
    """
    height, width = forward.shape[:2]
    x = forward[..., 0] + np.arange(width, dtype=np.float32)
    y = forward[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    back: NDArray[np.float32] = np.asarray(
        cv2.remap(backward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    error = _squared(forward + back)
    size = _squared(forward) + _squared(back)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    agree: NDArray[np.bool_] = (error < 0.01 * size + 0.5) & inside
    return agree


def _squared(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 2) to squared lengths (H, W); several times faster than a sum over the last axis."""
    x, y = vectors[..., 0], vectors[..., 1]
    lengths: NDArray[np.float32] = x * x + y * y
    return lengths

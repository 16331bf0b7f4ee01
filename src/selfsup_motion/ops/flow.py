"""Optical flow as CMP's training target: motion bins per axis, end-point error.

Flow files and colours live beside this file and are part of its interface.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.flow_color import flow_to_color
from selfsup_motion.ops.flow_io import read_flow, read_flow_and_valid, write_flow
from selfsup_motion.ops.flow_loss import upsampled_cross_entropy
from selfsup_motion.ops.masks import check_mask

__all__ = [
    "FlowBins",
    "Spacing",
    "end_point_error",
    "flow_to_color",
    "pixel_weight",
    "read_flow",
    "read_flow_and_valid",
    "write_flow",
]

Spacing = Literal["linear", "quadratic"]

# Keeps the largest flow inside the last bin; the value is the published one.
_CLAMP_MARGIN = 1e-3


class FlowBins:
    """Flow as two classifications, one per axis (CMP, section 3.3 "Loss function").

    The range [-max_flow, max_flow] is cut into `num_bins` classes; flow outside falls into the
    outermost ones. A network predicts 2 * num_bins channels: the first half scores the horizontal
    component, the second half the vertical one.

    Args:
        num_bins: odd, so that no motion is the centre of a bin.
        max_flow: pixels.
        spacing: "linear", all bins equally wide, or "quadratic", bins that widen with the square
            of their distance from zero (finer for slow motion).
    """

    def __init__(
        self,
        num_bins: int = 99,
        max_flow: float = 50.0,
        spacing: Spacing = "linear",
    ) -> None:
        if num_bins < 3 or num_bins % 2 == 0:
            raise ValueError(f"num_bins must be odd and at least 3, got {num_bins}")
        if not max_flow > _CLAMP_MARGIN:
            raise ValueError(f"max_flow must be a positive number of pixels, got {max_flow}")
        if spacing not in ("linear", "quadratic"):
            raise ValueError(f'spacing must be "linear" or "quadratic", got {spacing!r}')
        self.num_bins = num_bins
        self.max_flow = float(max_flow)
        self.spacing = spacing

    def __repr__(self) -> str:
        return f"FlowBins({self.num_bins}, {self.max_flow:g}, {self.spacing!r})"

    @property
    def channels(self) -> int:
        """Channels of the scores: one per bin and axis."""
        return 2 * self.num_bins

    @property
    def centers(self) -> Tensor:
        """(num_bins,) float32: the flow in the middle of each bin, in pixels."""
        position = torch.arange(self.num_bins, dtype=torch.float64) + 0.5
        offset = 2 * position / self.num_bins - 1  # (-1, 1)
        if self.spacing == "quadratic":
            offset = offset * offset.abs()
        return (offset * self.max_flow).float()

    def encode(self, flow: Tensor) -> Tensor:
        """Class of each component: flow of any shape, in pixels -> int64 in [0, num_bins)."""
        limit = self.max_flow - _CLAMP_MARGIN
        flow = flow.clamp(-limit, limit)
        if self.spacing == "linear":
            label = (flow + self.max_flow) / (2 * self.max_flow / self.num_bins)
        else:
            root = (flow.abs() / (4 * self.max_flow)).sqrt()
            label = self.num_bins * torch.copysign(root, flow) + self.num_bins / 2
        return label.floor().long()

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """Cross-entropy of the horizontal plus that of the vertical component.

        Scores of another size are upsampled to that of the flow (bilinear, corners aligned) before
        the softmax; `ops.flow_loss` does so without holding them.

        Args:
            scores: (B, 2 num_bins, h, w).
            flow: (B, 2, H, W) in pixels, finite where `valid`.
            valid: (B, H, W) bool: the pixels that count. None: all.

        Returns:
            Scalar: each axis' mean over the pixels that count, summed. Zero, with zero gradient,
            if no pixel counts.
        """
        batch = len(flow)
        if scores.shape[:2] != (batch, self.channels) or flow.shape[1] != 2:
            raise ValueError(
                f"expected scores ({batch}, {self.channels}, h, w) for {self} and flow "
                f"(B, 2, H, W), got {tuple(scores.shape)} and {tuple(flow.shape)}"
            )
        flow, weight = pixel_weight(flow, valid)
        return upsampled_cross_entropy(self._per_axis(scores), self.encode(flow), weight)

    def decode(self, scores: Tensor) -> Tensor:
        """Expected flow under the softmax: (B, 2 num_bins, h, w) -> (B, 2, h, w) in pixels.

        To compare with flow of another size, upsample the result without rescaling its values:
        they are pixels of the flow that the scores were trained on.
        """
        if scores.shape[1] != self.channels:
            raise ValueError(
                f"expected scores (B, {self.channels}, h, w), got {tuple(scores.shape)}"
            )
        centers = constant_like(self.centers, scores, torch.float32)
        # In float32 even under autocast: half precision is 0.03 px coarse at 50 px.
        if scores.stride(1) == 1:  # channels last: neither they nor their gradient are transposed
            parts = scores.permute(0, 2, 3, 1).unflatten(-1, (2, self.num_bins))  # type: ignore[no-untyped-call]
            expected: Tensor = (parts.float().softmax(-1) * centers).sum(-1)  # (B, h, w, 2)
            return expected.permute(0, 3, 1, 2)
        probability = self._per_axis(scores).float().softmax(2)
        return (probability * centers.view(-1, 1, 1)).sum(2)

    def _per_axis(self, scores: Tensor) -> Tensor:
        batch, _, height, width = scores.shape
        return scores.reshape(batch, 2, self.num_bins, height, width)


def pixel_weight(flow: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """For a mean over the pixels that count.

    Args:
        flow: (B, 2, H, W).
        valid: (B, H, W) bool. None: all.

    Returns:
        The flow, zero where not valid, and (B, H, W) weights, float32 or as the flow if that is
        more precise, that sum up to 1 (to 0 if no pixel counts).

    Raises:
        ValueError: `valid` has another shape or type.
    """
    batch, _, height, width = flow.shape
    size, dtype = (batch, height, width), torch.promote_types(flow.dtype, torch.float32)
    if valid is None:
        return flow, flow.new_full(size, 1 / max(1, math.prod(size)), dtype=dtype)
    check_mask("valid", valid, size)
    flow = torch.where(valid.unsqueeze(1), flow, 0.0)
    return flow, valid.to(dtype) / valid.sum().clamp(min=1)


def end_point_error(pred: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance between predicted and true flow, in pixels.

    Args:
        pred: (B, 2, H, W).
        target: (B, 2, H, W).
        valid: (B, H, W) bool: the pixels that count. None: all.

    Returns:
        Scalar, float32 or more; NaN if no pixel counts (there is no error to speak of).

    Raises:
        ValueError: shapes that do not fit, or `valid` of another type.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"pred and target must have one shape, got {tuple(pred.shape)}, {tuple(target.shape)}"
        )
    difference = pred - target
    dtype = torch.promote_types(difference.dtype, torch.float32)  # a sum of halves overflows
    error: Tensor = torch.linalg.vector_norm(difference, dim=1, dtype=dtype)  # (B, H, W)
    if valid is None:
        return error.mean()
    check_mask("valid", valid, error.shape)
    return torch.where(valid, error, 0.0).sum() / valid.sum()

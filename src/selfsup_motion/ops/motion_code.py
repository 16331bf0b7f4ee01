"""Other ways than `FlowBins` to write a flow as a network's output (CMP's ablations).

Each of them is a `MotionCode`: it says how many channels the network predicts, compares them with a
flow, and turns them back into one.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.flow import FlowBins, Spacing, pixel_weight
from selfsup_motion.ops.flow_loss import upsampled_cross_entropy

# Keep the fastest flow and the last angle inside their bins; the values are the published ones.
_CLAMP_MARGIN = 1e-3
_RIGHT_OF_VERTICAL = 1e-5


class MotionCode(Protocol):
    """What a network predicts of a flow, and how the two are compared."""

    @property
    def channels(self) -> int:
        """Channels of the scores."""
        ...

    @property
    def max_flow(self) -> float | None:
        """The longest motion along an axis that can be predicted, in pixels; None: any."""
        ...

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """Compare (B, channels, h, w) scores, enlarged, with (B, 2, H, W) flow in pixels.

        Only pixels of `valid`, (B, H, W) bool, count; the flow may be anything elsewhere. Scalar;
        zero, with zero gradient, if no pixel counts.
        """
        ...

    def decode(self, scores: Tensor) -> Tensor:
        """(B, channels, h, w) scores to (B, 2, h, w) float32 flow, in pixels of the target."""
        ...


class JointBins:
    """Flow as one classification over a square grid of bins: it can tell (1, 1) from (1, -1).

    Channel x · num_bins + y scores the bin x of the horizontal and y of the vertical component.

    Args:
        num_bins: per axis, odd; the number of classes is its square.
        max_flow: pixels.
        spacing: "linear" or "quadratic", see `FlowBins`.
    """

    def __init__(self, num_bins: int, max_flow: float, spacing: Spacing) -> None:
        self.axis = FlowBins(num_bins, max_flow, spacing)

    @property
    def max_flow(self) -> float:
        return self.axis.max_flow

    @property
    def channels(self) -> int:
        """One per cell of the grid."""
        return self.axis.num_bins**2

    def encode(self, flow: Tensor) -> Tensor:
        """Class of each pixel: (B, 2, H, W) -> (B, H, W) int64."""
        x, y = self.axis.encode(flow).unbind(1)
        return x * self.axis.num_bins + y

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """Cross-entropy, mean over the pixels that count; see `MotionCode`."""
        _check(self, scores, flow)
        flow, weight = pixel_weight(flow, valid)
        return upsampled_cross_entropy(scores.unsqueeze(1), self.encode(flow).unsqueeze(1), weight)

    def decode(self, scores: Tensor) -> Tensor:
        """Expected flow under the softmax; see `MotionCode`."""
        batch, _, height, width = scores.shape
        count = self.axis.num_bins
        probability = scores.float().softmax(1).view(batch, count, count, height, width)
        centers = constant_like(self.axis.centers, scores, torch.float32).view(-1, 1, 1)
        marginals = probability.sum(2), probability.sum(1)  # of x, of y
        return torch.stack([(p * centers).sum(1) for p in marginals], 1)


class PolarBins:
    """Flow as two classifications, of its direction and of its length.

    The first `angle_bins` channels score the direction, from straight up and clockwise; the others
    the length, whose last bin also holds everything longer than `max_flow`.

    Args:
        angle_bins: equal parts of the full circle.
        radius_bins: parts of [0, max_flow].
        max_flow: pixels.
        spacing: "linear", all lengths' bins equally wide, or "quadratic", finer for slow motion.
    """

    def __init__(
        self, angle_bins: int, radius_bins: int, max_flow: float, spacing: Spacing
    ) -> None:
        if angle_bins < 3 or radius_bins < 2:
            raise ValueError(
                f"a polar code needs angle_bins >= 3 and radius_bins >= 2, got {angle_bins} and "
                f"{radius_bins}"
            )
        if not max_flow > _CLAMP_MARGIN:
            raise ValueError(f"max_flow must be a positive number of pixels, got {max_flow}")
        if spacing not in ("linear", "quadratic"):
            raise ValueError(f'spacing must be "linear" or "quadratic", got {spacing!r}')
        self.angle_bins, self.radius_bins = angle_bins, radius_bins
        self.max_flow, self.spacing = float(max_flow), spacing

    @property
    def channels(self) -> int:
        """One per angle and one per length."""
        return self.angle_bins + self.radius_bins

    def encode(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Classes of direction and length: (B, 2, H, W) -> two (B, H, W) int64."""
        x, y = flow.unbind(1)
        x = torch.where(x == 0, _RIGHT_OF_VERTICAL, x)  # else straight down is on a bin's edge
        angle = (torch.atan2(y, x) + math.pi / 2) % (2 * math.pi)
        angle = angle.clamp(max=2 * math.pi - _CLAMP_MARGIN)
        share = flow.norm(dim=1).clamp(max=self.max_flow - _CLAMP_MARGIN) / self.max_flow
        if self.spacing == "quadratic":
            share = share.sqrt()
        return (
            (self.angle_bins * angle / (2 * math.pi)).floor().long(),
            (self.radius_bins * share).floor().long(),
        )

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """Cross-entropy of the direction plus that of the length; see `MotionCode`."""
        _check(self, scores, flow)
        flow, weight = pixel_weight(flow, valid)
        parts = scores[:, : self.angle_bins], scores[:, self.angle_bins :]
        losses = [
            upsampled_cross_entropy(part.unsqueeze(1), label.unsqueeze(1), weight)
            for part, label in zip(parts, self.encode(flow), strict=True)
        ]
        return losses[0] + losses[1]

    def decode(self, scores: Tensor) -> Tensor:
        """Expected unit vector times expected length; see `MotionCode`.

        Where the direction is in doubt the flow is short, as an expectation should be.
        """
        angles, radii = scores[:, : self.angle_bins].float(), scores[:, self.angle_bins :].float()
        directions = constant_like(self.directions, scores, torch.float32)
        direction = torch.einsum("da,bahw->bdhw", directions, angles.softmax(1))
        lengths = constant_like(self.lengths, scores, torch.float32).view(-1, 1, 1)
        expected: Tensor = direction * (radii.softmax(1) * lengths).sum(1, keepdim=True)
        return expected

    @property
    def directions(self) -> Tensor:
        """(2, angle_bins) float32: unit vectors x, y in the middle of the directions' bins."""
        index = torch.arange(self.angle_bins) + 0.5
        angle = index * (2 * math.pi / self.angle_bins) - math.pi / 2
        return torch.stack([angle.cos(), angle.sin()])

    @property
    def lengths(self) -> Tensor:
        """(radius_bins,) float32: pixels in the middle of the lengths' bins."""
        share = (torch.arange(self.radius_bins) + 0.5) / self.radius_bins
        if self.spacing == "quadratic":
            share = share.square()
        return share * self.max_flow


class FlowRegression:
    """Flow as it is: the network predicts two numbers, in pixels.

    Args:
        norm: "smooth_l1" (quadratic below one pixel, linear above) or "l2" (squared error); the
            mean over both components.
    """

    channels = 2
    max_flow: float | None = None

    def __init__(self, norm: Literal["smooth_l1", "l2"]) -> None:
        if norm not in ("smooth_l1", "l2"):
            raise ValueError(f'norm must be "smooth_l1" or "l2", got {norm!r}')
        self.norm = norm

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """Error of the enlarged prediction; see `MotionCode`."""
        _check(self, scores, flow)
        flow, weight = pixel_weight(flow, valid)
        if scores.shape[-2:] != flow.shape[-2:]:
            scores = F.interpolate(scores, flow.shape[-2:], mode="bilinear", align_corners=True)
        distance = F.smooth_l1_loss if self.norm == "smooth_l1" else F.mse_loss
        error = distance(scores.float(), flow.float(), reduction="none").mean(1)
        return (error * weight).sum()

    def decode(self, scores: Tensor) -> Tensor:
        """The scores are the flow; see `MotionCode`."""
        return scores.float()


def _check(code: MotionCode, scores: Tensor, flow: Tensor) -> None:
    if scores.shape[:2] != (len(flow), code.channels) or flow.shape[1] != 2:
        raise ValueError(
            f"{type(code).__name__} compares scores (B, {code.channels}, h, w) with flow "
            f"(B, 2, H, W), got {tuple(scores.shape)} and {tuple(flow.shape)}"
        )

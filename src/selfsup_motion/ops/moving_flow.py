"""Flow together with whether a pixel moves at all, for networks that answer a few arrows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.masks import check_mask


class MovingFlow:
    """Two numbers of flow, in pixels, and a score of moving: three channels.

    The loss is the end-point error, the cross-entropy of moving and one minus the soft intersection
    over union of what moves, each a mean over images or pixels. What moves counts more, so that a
    small thing is not outvoted by the background.

    Args:
        max_flow: pixels; longer vectors are not expected.
        moves: pixels: a pixel that goes farther moves.
        moving_weight: of the pixels that move, relative to the others.
        entropy_weight: of the cross-entropy.
        overlap_weight: of the soft intersection over union.
    """

    channels = 3

    def __init__(
        self,
        max_flow: float = 20.0,
        moves: float = 0.4,
        moving_weight: float = 3.0,
        entropy_weight: float = 1.0,
        overlap_weight: float = 1.0,
    ) -> None:
        self.max_flow, self.moves, self.moving_weight = max_flow, moves, moving_weight
        self.entropy_weight, self.overlap_weight = entropy_weight, overlap_weight

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """Compare scores (B, 3, h, w), at their own resolution, with flow (B, 2, H, W) in pixels.

        Only pixels of `valid`, (B, H, W) bool, count. Scalar; zero, with zero gradient, if no pixel
        counts.
        """
        if scores.shape[:2] != (len(flow), self.channels) or flow.shape[1] != 2:
            raise ValueError(
                f"MovingFlow compares scores (B, 3, h, w) with flow (B, 2, H, W), got "
                f"{tuple(scores.shape)} and {tuple(flow.shape)}"
            )
        if valid is not None:
            check_mask("valid", valid, (flow.shape[0], *flow.shape[2:]))
        known = torch.ones_like(flow[:, :1]) if valid is None else valid[:, None].float()
        flow = torch.where(known > 0, flow, 0)
        moving = (flow.norm(dim=1, keepdim=True) > self.moves).float()
        size = (scores.shape[-2], scores.shape[-1])
        weight = F.adaptive_avg_pool2d(known, size)
        share = F.adaptive_avg_pool2d(moving * known, size) / weight.clamp(min=1e-6)
        target = F.adaptive_avg_pool2d(flow, size) / weight.clamp(min=1e-6)
        scores = scores.float()
        error = ((scores[:, :2] - target).square().sum(1, keepdim=True) + 1e-4).sqrt()
        entropy = F.binary_cross_entropy_with_logits(scores[:, 2:], share, reduction="none")
        counts = weight * (1 + (self.moving_weight - 1) * share)
        pixelwise = (counts * (error + self.entropy_weight * entropy)).sum() / counts.sum().clamp(1)
        predicted = scores[:, 2:].sigmoid() * weight
        share = share * weight
        both = (predicted * share).sum((1, 2, 3))
        either = (predicted + share - predicted * share).sum((1, 2, 3))
        seen = share.sum((1, 2, 3)) > 0
        overlap = (1 - (both + 1) / (either + 1)) * seen
        loss: Tensor = pixelwise + self.overlap_weight * overlap.sum() / seen.sum().clamp(min=1)
        return loss

    def decode(self, scores: Tensor) -> Tensor:
        """(B, 3, h, w) scores to (B, 2, h, w) float32 flow in pixels."""
        return scores[:, :2].float()

    def moving(self, scores: Tensor) -> Tensor:
        """(B, 3, h, w) scores to (B, h, w): the probability that a pixel moves."""
        return scores[:, 2].float().sigmoid()

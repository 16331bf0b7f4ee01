"""The published way from guidance to dense motion, by a sparse image (CMP, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup_motion.models.cmp_layers import GuidanceEncoder, PropagationDecoder, SkipDecoder
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.guidance import rasterize_guidance


class SparsePropagation(nn.Module):
    """Sparse motion image → guidance encoder; with the image features → propagation decoder.

    Args:
        feature_channels: channels of the image encoder's "stem", "layer1" and "output" features.
        bins: the motion classes to score.
        stride: of the image encoder's "output" features.
        decoder: "plain" scores at the encoder's stride (all representation-learning recipes);
            "skip" refines to stride 2 with the early features (annotation and animation).
        scales: pooling factors of the plain decoder; the skip decoder always has 1, 2, 4, 8.
        guidance_channels: channels of the guidance encoder's output.
    """

    def __init__(
        self,
        *,
        feature_channels: Mapping[str, int],
        bins: FlowBins,
        stride: int = 8,
        decoder: Literal["plain", "skip"] = "plain",
        scales: Sequence[int] = (1, 2, 4),
        guidance_channels: int = 16,
    ) -> None:
        super().__init__()
        self.flow_encoder = GuidanceEncoder(out_channels=guidance_channels, stride=stride)
        channels = feature_channels["output"] + guidance_channels
        self.flow_decoder: PropagationDecoder | SkipDecoder
        if decoder == "plain":
            self.flow_decoder = PropagationDecoder(channels, bins.channels, scales)
        elif decoder == "skip":
            self.flow_decoder = SkipDecoder(
                channels, feature_channels["layer1"], feature_channels["stem"], bins.channels
            )
        else:
            raise ValueError(f'decoder must be "plain" or "skip", got {decoder!r}')

    def forward(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Propagate.

        Args:
            features: the image encoder's features.
            points: (B, K, 2) x, y in pixels.
            vectors: (B, K, 2) displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.
            size: (height, width) of the image, multiples of the encoder's stride.

        Returns:
            (B, bins.channels, h, w) scores.
        """
        guidance = self.flow_encoder(rasterize_guidance(points, vectors, point_mask, size))
        joined = torch.cat([features["output"], guidance], 1)
        scores: Tensor
        if isinstance(self.flow_decoder, SkipDecoder):
            scores = self.flow_decoder(joined, features["layer1"], features["stem"])
        else:
            scores = self.flow_decoder(joined)
        return scores

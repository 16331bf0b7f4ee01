"""The published way from guidance to dense motion, by a sparse image (CMP, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup_motion.models.motion_decoders.layers import (
    FlowNetDecoder,
    GuidanceEncoder,
    PropagationDecoder,
    SkipDecoder,
)
from selfsup_motion.ops.guidance import rasterize_guidance
from selfsup_motion.ops.motion_code import MotionCode

_PREPARED = "prepared."


class SparsePropagation(nn.Module):
    """Sparse motion image → guidance encoder; with the image features → propagation decoder.

    Args:
        feature_channels: channels of the image encoder's "output" features, and of "stem" and
            "layer1" for the decoders that use them.
        motion_code: what to score.
        stride: of the image encoder's "output" features.
        decoder: "plain" scores at the encoder's stride (all representation-learning recipes);
            "skip" refines to stride 2 with the early features (annotation and animation);
            "flownet" to full resolution, with scores at all strides between.
        scales: pooling factors of the plain decoder; the others always have 1, 2, 4, 8.
        guidance_channels: channels of the guidance encoder's output.
    """

    def __init__(
        self,
        *,
        feature_channels: Mapping[str, int],
        motion_code: MotionCode,
        stride: int = 8,
        decoder: Literal["plain", "skip", "flownet"] = "plain",
        scales: Sequence[int] = (1, 2, 4),
        guidance_channels: int = 16,
    ) -> None:
        super().__init__()
        self.flow_encoder = GuidanceEncoder(out_channels=guidance_channels, stride=stride)
        channels = feature_channels["output"] + guidance_channels
        self.flow_decoder: PropagationDecoder | SkipDecoder | FlowNetDecoder
        if decoder == "plain":
            self.flow_decoder = PropagationDecoder(channels, motion_code.channels, scales)
        elif decoder in ("skip", "flownet"):
            early = early_channels(feature_channels, f'decoder "{decoder}"')
            refined = SkipDecoder if decoder == "skip" else FlowNetDecoder
            self.flow_decoder = refined(channels, *early, motion_code.channels)
        else:
            raise ValueError(f'decoder must be "plain", "skip" or "flownet", got {decoder!r}')

    def forward(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> Tensor | tuple[Tensor, ...]:
        """Propagate.

        Args:
            features: the image encoder's features, and the normalised "image".
            points: (B, K, 2) x, y in pixels.
            vectors: (B, K, 2) displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.
            size: (height, width) of the image, multiples of the encoder's stride.

        Returns:
            (B, motion_code.channels, h, w) scores; of the "flownet" decoder several, the finest
            first.
        """
        return self.spread(features, rasterize_guidance(points, vectors, point_mask, size))

    def spread(
        self, features: Mapping[str, Tensor], guidance: Tensor
    ) -> Tensor | tuple[Tensor, ...]:
        """Propagate guidance that is an image already.

        Args:
            features: see `forward`, or what `prepare` makes of them.
            guidance: (B, 4, H, W): x motion, y motion, mask, mask.
        """
        height, width = guidance.shape[-2:]
        guidance = self.flow_encoder(guidance)
        if guidance.shape[-2:] != features["output"].shape[-2:]:
            raise ValueError(
                f"images of {height}x{width} pixels do not divide into the encoder's stride of "
                f"{self.flow_encoder.stride}: use crops whose sides are multiples of it"
            )
        prepared = {
            k.removeprefix(_PREPARED): v for k, v in features.items() if k.startswith(_PREPARED)
        }
        if prepared:
            assert isinstance(self.flow_decoder, SkipDecoder)
            return self.flow_decoder.spread(guidance, prepared)
        joined = torch.cat([features["output"], guidance], 1)
        inputs = [joined]
        if not isinstance(self.flow_decoder, PropagationDecoder):
            inputs += [features["layer1"], features["stem"]]
        if isinstance(self.flow_decoder, FlowNetDecoder):
            inputs.append(features["image"])
        scores: Tensor | tuple[Tensor, ...] = self.flow_decoder(*inputs)
        return scores

    def prepare(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features with which `forward` and `spread` do only what depends on the guidance.

        For images that are asked several times. Only the skip decoder does anything beforehand.
        """
        if not isinstance(self.flow_decoder, SkipDecoder):
            return dict(features)
        early = features["layer1"], features["stem"]
        made = self.flow_decoder.prepare(features["output"], *early)
        return {"output": features["output"]} | {f"{_PREPARED}{k}": v for k, v in made.items()}


def early_channels(feature_channels: Mapping[str, int], wanted_by: str) -> tuple[int, int]:
    """Channels of the features at strides 4 and 2, of an encoder that has them."""
    if not {"layer1", "stem"} <= feature_channels.keys():
        raise ValueError(
            f"{wanted_by} needs an encoder with features at strides 2 and 4 (encoder=resnet…); "
            f"this one has {', '.join(feature_channels)}"
        )
    return feature_channels["layer1"], feature_channels["stem"]

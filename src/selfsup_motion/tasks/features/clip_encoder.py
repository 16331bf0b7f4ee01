"""From clips to one vector each, whatever the encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup_motion.models.encoder import sees_clips
from selfsup_motion.models.pooling import clip_features, input_levels
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder, finite


class ClipFeatures(nn.Module):
    """An encoder with its input normalisation, averaged over time and space; frozen.

    Encoders of images see every frame of a clip.

    Args:
        encoder: of clips, (B, 3, T, H, W) -> (B, C, t, h, w), or of images,
            (B, 3, H, W) -> (B, C, h, w); see `models.encoder.Encoder`.

    Raises:
        UserError: the encoder does not say what it sees, or by which normalisation.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self._frames: FrameEncoder | None = None
        if not sees_clips(encoder):
            self._frames = FrameEncoder(encoder)
            return
        for name, levels in zip(("mean", "std"), input_levels(encoder), strict=True):
            self.register_buffer(name, levels, persistent=False)
        self.encoder = encoder.eval().to(memory_format=torch.channels_last_3d)

    @torch.inference_mode()
    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) uint8 RGB -> (N, C) float32; raises `UserError` if not finite."""
        if self._frames is not None:
            if (clips == clips[:, :1]).all():  # a still, whose frames are all alike
                clips = clips[:, :1]
            features = self._frames(clips.flatten(0, 1)).mean((2, 3))
            return finite(features.unflatten(0, clips.shape[:2]).mean(1))
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return finite(clip_features(self.encoder, clips.to(mean.device).float() / 255, mean, std))

"""From uint8 clips to one vector each, whatever the encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup_motion.tasks.frame_encoder import FrameEncoder


class ClipEncoder(nn.Module):
    """An encoder with its input normalisation, averaged over time and space; frozen.

    Encoders of images see every frame of a clip.

    Args:
        encoder: of clips, (B, 3, T, H, W) -> (B, C, t, h, w), if it has a `time_stride`; else of
            images, (B, 3, H, W) -> (B, C, h, w). Declares `input_mean` and `input_std`.

    Raises:
        ValueError: the encoder declares no normalisation.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self._frames: FrameEncoder | None = None
        if not hasattr(encoder, "time_stride"):
            self._frames = FrameEncoder(encoder)
            return
        name = type(encoder).__name__
        statistics = [getattr(encoder, key, None) for key in ("input_mean", "input_std")]
        if any(s is None for s in statistics):
            raise ValueError(f"{name} declares no input_mean and input_std: what does it see?")
        for key, value in zip(("mean", "std"), statistics, strict=True):
            levels = torch.tensor(value, dtype=torch.float32).view(3, 1, 1, 1)
            self.register_buffer(key, levels, persistent=False)
        self.encoder = encoder.eval().to(memory_format=torch.channels_last_3d)

    @torch.inference_mode()
    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) uint8 RGB -> (N, C) float32."""
        if self._frames is not None:
            features = self._frames(clips.flatten(0, 1)).mean((2, 3))
            return features.unflatten(0, clips.shape[:2]).mean(1)  # type: ignore[no-any-return]
        mean = self.get_buffer("mean")
        x = (clips.to(mean.device).transpose(1, 2).float() - mean) / self.get_buffer("std")
        out: Tensor = self.encoder(x.contiguous(memory_format=torch.channels_last_3d))
        return out.float().mean((2, 3, 4))

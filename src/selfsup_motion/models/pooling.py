"""One vector of a clip, whatever the encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup_motion.models.encoder import input_statistics, sees_clips
from selfsup_motion.models.precision import own_precision


def input_levels(encoder: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (3, 1, 1) each, that the encoder's RGB in [0, 1] is brought to.

    Raises:
        UserError: the encoder declares none.
    """
    mean, std = input_statistics(encoder)
    return mean / 255, std / 255


def clip_features(encoder: nn.Module, clips: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Average an encoder's output over space and time, or over the frames that it sees one by one.

    Args:
        encoder: of clips, (B, 3, T, H, W) -> (B, C, t, h, w), or of images, (B, 3, H, W) ->
            (B, C, h, w); gradients pass through it.
        clips: (N, T, 3, H, W) float RGB in [0, 1].
        mean: see `input_levels`.
        std: see `input_levels`.

    Returns:
        (N, C) float32.
    """
    x = (clips - mean) / std
    out: Tensor
    if not sees_clips(encoder):
        with own_precision(encoder):
            out = encoder(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return out.float().mean((2, 3)).view(*clips.shape[:2], -1).mean(1)
    with own_precision(encoder):
        out = encoder(x.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))
    return out.float().mean((2, 3, 4))

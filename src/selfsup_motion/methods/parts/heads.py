"""Projections behind an encoder that are trained with it and do not transfer."""

from __future__ import annotations

from torch import nn

from selfsup_motion.errors import UserError


def mlp(in_channels: int, hidden: int, out: int, *, layers: int, norm: bool) -> nn.Sequential:
    """Linear layers with ReLU between them.

    Args:
        in_channels: of the input.
        hidden: channels between the layers.
        out: channels of the output.
        layers: linear layers, at least 1.
        norm: batch normalisation before each ReLU; the layers before it then have no bias.

    Raises:
        UserError: fewer than one layer or channel.
    """
    for name, value in (("layers", layers), ("hidden", hidden), ("dim", out)):
        if value < 1:
            raise UserError(f"method.{name} must be at least 1, got {value}.")
    parts: list[nn.Module] = []
    channels = in_channels
    for _ in range(layers - 1):
        parts.append(nn.Linear(channels, hidden, bias=not norm))
        if norm:
            parts.append(nn.BatchNorm1d(hidden))
        parts.append(nn.ReLU(inplace=True))
        channels = hidden
    return nn.Sequential(*parts, nn.Linear(channels, out))

"""C3D as an encoder of clips (Tran et al., ICCV 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from selfsup_motion.models.encoder import ClipEncoder

_POOLED = (True, True, False, True, False, True, False, False)
"""Whether a layer is followed by pooling; that of the last one belongs to the classifier."""


class C3D(ClipEncoder):
    """Eight convolutions of 3×3×3, four of them pooled, the first one in space alone.

    16 frames of 112×112 give (out_channels, 2, 7, 7). The pooling behind the last convolution and
    the two layers that are fully connected are left out, as features are averaged.

    Args:
        widths: channels of the eight layers.
        norm: batch normalisation in each layer, as what trains from random weights needs it; the
            network of 2015 has none.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        time_stride: input frames per output frame.

    Raises:
        ValueError: another number of layers.
    """

    input_mean = (114.75, 114.75, 114.75)
    input_std = (57.375, 57.375, 57.375)
    stride = 16
    time_stride = 8

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 256, 512, 512, 512, 512),
        norm: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) != len(_POOLED):
            raise ValueError(
                f"encoder.widths has one entry for each of {len(_POOLED)} layers, got {len(widths)}"
            )
        layers: list[nn.Module] = []
        channels = 3
        for number, (width, pooled) in enumerate(zip(widths, _POOLED, strict=True)):
            layers.append(nn.Conv3d(channels, width, 3, padding=1, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm3d(width))
            layers.append(nn.ReLU(inplace=True))
            if pooled:
                layers.append(nn.MaxPool3d((1 if number == 0 else 2, 2, 2), ceil_mode=True))
            channels = width
        self.layers = nn.Sequential(*layers)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised clips -> (B, out_channels, t, h, w)."""
        features: Tensor = self.layers(x)
        return features

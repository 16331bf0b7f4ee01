"""AlexNet with batch normalisation, fully convolutional: CMP's first image encoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.encoder import FeatureEncoder

# strides of conv1, pool1, pool2 and pool5
_STRIDES = {8: (2, 2, 2, 1), 32: (4, 2, 2, 2)}


class AlexNetEncoder(FeatureEncoder):
    """AlexNet whose dense layers are convolutions, ending in a 1x1 projection `conv8`.

    One group throughout, biases everywhere, batch normalisation after every convolution but the
    last. Nothing is dilated: at `output_stride=8` the first convolution and the last pooling give
    up their strides, so the same weights see a smaller part of the image.

    Args:
        out_channels: channels of the projection.
        output_stride: 8 or 32 (all published recipes).

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        feature_channels: channels of each entry of `forward_features`; there are no early features,
            so decoders with skip connections need another encoder.
        input_mean, input_std: ImageNet's, for RGB in [0, 255]; it sees (image - mean) / std.
    """

    input_mean, input_std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(self, out_channels: int = 256, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in _STRIDES:
            raise ValueError(f"output_stride must be 8 or 32, got {output_stride}")
        first, *self.pool_strides = _STRIDES[output_stride]
        self.conv1 = _conv_bn_relu(3, 96, kernel=11, stride=first)
        self.conv2 = _conv_bn_relu(96, 256, kernel=5)
        self.conv3 = _conv_bn_relu(256, 384, kernel=3)
        self.conv4 = _conv_bn_relu(384, 384, kernel=3)
        self.conv5 = _conv_bn_relu(384, 256, kernel=3)
        self.fc6 = _conv_bn_relu(256, 4096, kernel=3)
        self.fc7 = _conv_bn_relu(4096, 4096, kernel=1)
        self.conv8 = nn.Conv2d(4096, out_channels, kernel_size=1)
        self.dropout = nn.Dropout(0.5)

        self.out_channels = out_channels
        self.stride = output_stride
        self.feature_channels = {"output": out_channels}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, out_channels, H / stride, W / stride)."""
        pool1, pool2, pool5 = self.pool_strides
        x = _pool(self.conv1(x), pool1)
        x = _pool(self.conv2(x), pool2)
        x = _pool(self.conv5(self.conv4(self.conv3(x))), pool5)
        x = self.dropout(self.fc7(self.dropout(self.fc6(x))))
        out: Tensor = self.conv8(x)
        return out

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """`output` alone."""
        return {"output": self(x)}


def _conv_bn_relu(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _pool(x: Tensor, stride: int) -> Tensor:
    return F.max_pool2d(x, kernel_size=3, stride=stride, padding=1)

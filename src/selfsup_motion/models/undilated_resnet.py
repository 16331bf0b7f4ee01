"""ResNets that keep resolution by giving up strides, without dilation: CRW's and CycleTime's."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.encoder import ImageEncoder
from selfsup_motion.models.resnet import BLOCKS, make_layer


class UndilatedResNet(ImageEncoder):
    """ResNet up to layer3, without strides from there on (Jabri et al. 2020, Wang et al. 2019).

    Its output is that of layer3, which both papers compare frames by, or a projection of it. CRW
    trains layer 4 as well and leaves it out afterwards: `forward_deep`. Names and shapes of the
    layers equal torchvision's for `width=64`.

    Args:
        depth: 10, 18, 34, 50 or 101 layers.
        width: channels of the stem and of the first layer's 3x3 convolutions; 64 is standard.
        output_stride: 8, or 4: the stem does not pool.
        padding: of the convolutions: "reflect", as CRW, or "zeros". Zeros tell a network where the
            border is, so that it can match places instead of contents.
        layer4: there is one, for `forward_deep`.
        out_channels: channels of a projection, a 1x1 convolution without bias and ReLU, behind
            layer3 (CycleTime: 512). None: no projection.

    Attributes:
        out_channels: channels of the output.
        deep_channels: channels of `forward_deep`.
        stride: input pixels per output pixel.
        input_mean, input_std: ImageNet's, for RGB in [0, 255]; it sees (image - mean) / std.

    Raises:
        ValueError: an argument is out of range.
    """

    input_mean, input_std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        output_stride: int = 8,
        padding: Literal["reflect", "zeros"] = "reflect",
        layer4: bool = True,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
        if output_stride not in (4, 8):
            raise ValueError(f"output_stride must be 4 or 8, got {output_stride}")
        if padding not in ("reflect", "zeros"):
            raise ValueError(f"padding must be reflect or zeros, got {padding!r}")
        if width < 1 or (out_channels is not None and out_channels < 1):
            raise ValueError(
                f"width and out_channels must be at least 1, got {width}, {out_channels}"
            )
        self.stride = output_stride
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        block, counts = BLOCKS[depth]
        channels = width
        for i in range(4 if layer4 else 3):
            layer = make_layer(
                block, channels, width << i, counts[i], stride=2 if i == 1 else 1, dilation=1
            )
            self.add_module(f"layer{i + 1}", layer)
            channels = (width << i) * block.expansion
        layer3 = (width << 2) * block.expansion
        self.deep_channels = channels if layer4 else None
        self.projection: nn.Conv2d | None = None
        if out_channels is not None:
            self.projection = nn.Conv2d(layer3, out_channels, kernel_size=1, bias=False)
        self.out_channels = out_channels or layer3
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.padding != (0, 0):
                    module.padding_mode = padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, out_channels, H / stride, W / stride)."""
        x = self._layer3(x)
        return x if self.projection is None else F.relu(self.projection(x))

    def forward_deep(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> layer4 (B, deep_channels, H / stride, W / stride)."""
        deep: Tensor = self.get_submodule("layer4")(self._layer3(x))
        return deep

    def _layer3(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if self.stride == 8:
            x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        for name in ("layer1", "layer2", "layer3"):
            x = self.get_submodule(name)(x)
        return x

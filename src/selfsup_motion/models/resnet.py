"""ResNet image encoders whose deeper layers are dilated instead of strided."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.encoder import FeatureEncoder


def _conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        bias=False,
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016), both dilated."""

    expansion = 1
    strided = "conv1"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dilation: int,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, channels, stride, dilation)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels, 1, dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return F.relu(out, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; stride and dilation are in the 3x3."""

    expansion = 4
    strided = "conv2"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dilation: int,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels, stride, dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, 4 channels, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return F.relu(out, inplace=True)


Counts = tuple[int, int, int, int]
BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], Counts]] = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""By depth: the block, and how many of them layer1 … layer4 have."""
# (stride, dilation) of layer1 … layer4
_SCHEDULES = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1)),
}

STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNetEncoder(FeatureEncoder):
    """ResNet without its classifier, followed by a 1x1 projection `conv5` (CMP's image encoder).

    Where a layer gives up its stride to keep `output_stride`, all of its 3x3 convolutions are
    dilated instead, the first one included. State-dict keys and shapes equal torchvision's (for
    `width=64`), except for the missing `fc` and the added `conv5`.

    Args:
        depth: 10, 18, 34, 50 or 101 layers.
        out_channels: channels of the projection. None: no projection, the output is layer4's.
        output_stride: 8, 16 or 32.
        width: channels of the stem and of the first layer's 3x3 convolutions; 64 is standard.
        dilate: dilate the convolutions of a layer that gives up its stride; false leaves them as
            they are, so that they see less far (the networks of CRW and DenseUlearn).

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        feature_channels: channels of each entry of `forward_features`.
        input_mean, input_std: ImageNet's, for RGB in [0, 255]; it sees (image - mean) / std.
    """

    input_mean, input_std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(
        self,
        depth: int = 50,
        out_channels: int | None = 256,
        output_stride: int = 8,
        width: int = 64,
        dilate: bool = True,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
        block, counts = BLOCKS[depth]
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.dilate = dilate
        layers, channels = [], width
        for i, (stride, dilation) in enumerate(_schedule(output_stride, dilate)):
            layers.append(make_layer(block, channels, width << i, counts[i], stride, dilation))
            channels = (width << i) * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.conv5: nn.Module = nn.Identity()
        if out_channels is not None:
            self.conv5 = nn.Conv2d(channels, out_channels, kernel_size=1)

        self.out_channels = out_channels or channels
        self.stride = output_stride
        self.feature_channels = {
            "stem": width,
            "layer1": width * block.expansion,
            "output": self.out_channels,
        }
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, out_channels, H / stride, W / stride)."""
        return self.forward_features(x)["output"]

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """`stem` at 1/2, `layer1` at 1/4 and `output`, for decoders with skip connections."""
        stem = F.relu(self.bn1(self.conv1(x)))
        layer1 = self.layer1(F.max_pool2d(stem, kernel_size=3, stride=2, padding=1))
        deep = self.layer4(self.layer3(self.layer2(layer1)))
        return {"stem": stem, "layer1": layer1, "output": self.conv5(deep)}

    def forward_stages(self, x: Tensor) -> dict[str, Tensor]:
        """`layer1` to `layer4`, without the projection, for feature pyramids."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        stages = {}
        for name in STAGES:
            x = stages[name] = self.get_submodule(name)(x)
        return stages

    @property
    def stage_channels(self) -> list[int]:
        """Channels of each entry of `forward_stages`."""
        first = self.feature_channels["layer1"]
        return [first << i for i in range(len(STAGES))]

    def set_output_stride(self, output_stride: int) -> None:
        """Exchange strides and dilations; the weights stay as they are.

        Args:
            output_stride: 8, 16 or 32.
        """
        for name, (stride, dilation) in zip(
            STAGES, _schedule(output_stride, self.dilate), strict=True
        ):
            for index, block in enumerate(self.get_submodule(name).children()):
                _set_stride(block, stride if index == 0 else 1, dilation)
        self.stride = output_stride


def _schedule(output_stride: int, dilate: bool) -> tuple[tuple[int, int], ...]:
    if output_stride not in _SCHEDULES:
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride}")
    schedule = _SCHEDULES[output_stride]
    return schedule if dilate else tuple((stride, 1) for stride, _ in schedule)


def _set_stride(block: nn.Module, stride: int, dilation: int) -> None:
    for name, conv in block.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        if conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (dilation, dilation)
        if name in (block.strided, "downsample.0"):
            conv.stride = (stride, stride)


def make_layer(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    count: int,
    stride: int,
    dilation: int,
) -> nn.Sequential:
    """`count` blocks of `channels` (times their expansion) channels, the first with the stride."""
    out_channels = channels * block.expansion
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    first = block(in_channels, channels, stride, dilation, shortcut)
    rest = (block(out_channels, channels, 1, dilation, None) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def published_init_(module: nn.Module) -> None:
    """Initialise a whole model as the official CMP code does, in place.

    Weights Xavier-normal with gain 0.02, normalisation weights N(1, 0.02), biases 0. It makes the
    first predictions uniform. It also overwrites pretrained weights: load those afterwards.
    """
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(m.weight, gain=0.02)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)
        else:
            continue
        if m.bias is not None:
            nn.init.zeros_(m.bias)

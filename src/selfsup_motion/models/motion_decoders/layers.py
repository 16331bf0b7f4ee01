"""CMP's guidance encoder and propagation decoders, in their published forms (section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.convolution import Conv3x3


class GuidanceEncoder(nn.Module):
    """Sparse motion and its mask to a few feature channels at the image encoder's stride.

    Args:
        in_channels: 4: x motion, y motion, mask, mask.
        out_channels: 16 in all published recipes.
        stride: of the image encoder, a multiple of 4 (published: 8 and 32).

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.
    """

    def __init__(self, in_channels: int = 4, out_channels: int = 16, stride: int = 8) -> None:
        super().__init__()
        if stride < 4 or stride % 4:
            raise ValueError(f"stride must be a multiple of 4, got {stride}")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 16, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, out_channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(stride // 4),
        )
        self.out_channels = out_channels
        self.stride = stride

    def forward(self, guidance: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        features: Tensor = self.features(guidance)
        return features


class PropagationDecoder(nn.Module):
    """Spreads guidance over the image features at several scales, then scores motion bins.

    Args:
        in_channels: image plus guidance channels (published: 256 + 16).
        out_channels: scores (published: 198).
        scales: pooling factors of the branches (published: 1, 2, 4 or 1, 2, 4, 8).
        hidden: channels of each branch.
    """

    def __init__(
        self,
        in_channels: int = 272,
        out_channels: int = 198,
        scales: Sequence[int] = (1, 2, 4),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        _check_scales(scales)
        self.scales = tuple(scales)
        for scale in self.scales:
            self.add_module(f"decoder{scale}", _branch(in_channels, hidden, scale, depth=2))
        self.head = nn.Conv2d(hidden * len(self.scales), out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w) scores."""
        scores: Tensor = self.head(_all_scales(self, self.scales, x))
        return scores


class _FusionTrunk(nn.Module):
    """Four scales of three convolutions each, fused to 256 channels: skip and FlowNet decoders."""

    scales = (1, 2, 4, 8)

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        for scale in self.scales:
            self.add_module(f"decoder{scale}", _branch(in_channels, 128, scale, depth=3))
        self.fusion8 = nn.Sequential(*_conv_bn_relu(4 * 128, 256))

    def fuse(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, 256, h, w)."""
        fused: Tensor = self.fusion8(_all_scales(self, self.scales, x))
        return fused


class SkipDecoder(_FusionTrunk):
    """Four scales, then refined to half resolution with the encoder's early features.

    The decoder of the published annotation and animation demos.

    Args:
        in_channels: image plus guidance channels (published: 256 + 16).
        layer1_channels: of the encoder's features at 1/4 (ResNet-50: 256).
        stem_channels: of the encoder's features at 1/2 (ResNet-50: 64).
        out_channels: scores (published: 198).
    """

    def __init__(
        self,
        in_channels: int = 272,
        layer1_channels: int = 256,
        stem_channels: int = 64,
        out_channels: int = 198,
    ) -> None:
        super().__init__(in_channels)
        self.skipconv4 = nn.Sequential(*_conv_bn_relu(layer1_channels, 128))
        self.fusion4 = nn.Sequential(*_conv_bn_relu(256 + 128, 128))
        self.skipconv2 = nn.Sequential(*_conv_bn_relu(stem_channels, 32))
        self.fusion2 = nn.Sequential(*_conv_bn_relu(128 + 32, 64))
        self.head = nn.Conv2d(64, out_channels, kernel_size=1)

    def forward(self, x: Tensor, layer1: Tensor, stem: Tensor) -> Tensor:
        """(B, in_channels, H/8, W/8), features at 1/4 and 1/2 -> (B, out_channels, H/2, W/2)."""
        x = self.fuse(x)
        x = self.fusion4(torch.cat([_resize(x, layer1), self.skipconv4(layer1)], 1))
        x = self.fusion2(torch.cat([_resize(x, stem), self.skipconv2(stem)], 1))
        scores: Tensor = self.head(x)
        return scores

    def prepare(self, image: Tensor, layer1: Tensor, stem: Tensor) -> dict[str, Tensor]:
        """Do what depends on the image alone, to ask `spread` for several sets of guidance.

        The first convolution of each scale reads image and guidance, that of a refinement the
        coarser result and early features. A convolution is linear, so the image's share of it can
        be computed apart: nearly half of the decoder's work.

        Args:
            image: (B, C, H/8, W/8), the image's part of what `forward` takes.
            layer1: see `forward`.
            stem: see `forward`.
        """
        shares = {}
        for name, branch in self._branches().items():
            pools, conv, _ = _first_conv(branch)
            shares[name] = _share(conv, pools(image), first=0)
        early = {"fusion4": self.skipconv4(layer1), "fusion2": self.skipconv2(stem)}
        for name, features in early.items():  # after the coarser result
            _, conv, _ = _first_conv(self.get_submodule(name))
            first = conv.in_channels - features.shape[1]
            shares[name] = _share(conv, features, first=first)
        return shares

    def spread(self, guidance: Tensor, prepared: Mapping[str, Tensor]) -> Tensor:
        """As `forward`, given what `prepare` has made of the image.

        Args:
            guidance: (B, 16, H/8, W/8), the guidance's part of what `forward` takes.
            prepared: of B images.
        """
        scales = []
        for name, branch in self._branches().items():
            pools, conv, rest = _first_conv(branch)
            given = pools(guidance)
            first = conv.in_channels - given.shape[1]
            scales.append(rest(_share(conv, given, first=first, bias=True) + prepared[name]))
        x = self.fusion8(torch.cat([_resize(scale, guidance) for scale in scales], 1))
        for name in ("fusion4", "fusion2"):
            _, conv, rest = _first_conv(self.get_submodule(name))
            x = _share(conv, _resize(x, prepared[name]), first=0, bias=True) + prepared[name]
            x = rest(x)
        scores: Tensor = self.head(x)
        return scores

    def _branches(self) -> dict[str, nn.Module]:
        return {f"decoder{s}": self.get_submodule(f"decoder{s}") for s in self.scales}


class FlowNetDecoder(_FusionTrunk):
    """Four scales, then FlowNet-S's refinement: scores at 1/8, 1/4, 1/2 and full resolution.

    Each resolution sees the early features, its own upsampled ones and the coarser scores. It is in
    the published code, but no published recipe uses it.

    Args:
        in_channels: image plus guidance channels (published: 256 + 16).
        layer1_channels: of the encoder's features at 1/4 (ResNet-50: 256).
        stem_channels: of the encoder's features at 1/2 (ResNet-50: 64).
        out_channels: scores (published: 198).
    """

    def __init__(
        self,
        in_channels: int = 272,
        layer1_channels: int = 256,
        stem_channels: int = 64,
        out_channels: int = 198,
    ) -> None:
        super().__init__(in_channels)
        # what a resolution reads: early features, upsampled ones and the coarser scores
        inputs4 = layer1_channels + 128 + out_channels
        inputs2 = stem_channels + 128 + out_channels
        inputs1 = 3 + 64 + out_channels
        self.predict8 = nn.Conv2d(256, out_channels, kernel_size=3, padding=1)
        self.predict4 = nn.Conv2d(inputs4, out_channels, kernel_size=3, padding=1)
        self.predict2 = nn.Conv2d(inputs2, out_channels, kernel_size=3, padding=1)
        self.predict1 = nn.Conv2d(inputs1, out_channels, kernel_size=3, padding=1)
        self.deconv4 = _deconv(256, 128)
        self.deconv2 = _deconv(inputs4, 128)
        self.deconv1 = _deconv(inputs2, 64)
        self.upsample8, self.upsample4, self.upsample2 = (
            nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
            for _ in range(3)
        )

    def forward(self, x: Tensor, layer1: Tensor, stem: Tensor, image: Tensor) -> tuple[Tensor, ...]:
        """Score at every resolution.

        Args:
            x: (B, in_channels, H/8, W/8).
            layer1: (B, layer1_channels, H/4, W/4).
            stem: (B, stem_channels, H/2, W/2).
            image: (B, 3, H, W) normalised.

        Returns:
            (B, out_channels, h, w) at 1, 1/2, 1/4 and 1/8 of the image's size.
        """
        x = self.fuse(x)
        scores8 = self.predict8(x)
        x = torch.cat([layer1, self.deconv4(x), self.upsample8(scores8)], 1)
        scores4 = self.predict4(x)
        x = torch.cat([stem, self.deconv2(x), self.upsample4(scores4)], 1)
        scores2 = self.predict2(x)
        x = torch.cat([image, self.deconv1(x), self.upsample2(scores2)], 1)
        return self.predict1(x), scores2, scores4, scores8


def _check_scales(scales: Sequence[int]) -> None:
    if not scales or min(scales) < 1 or len(set(scales)) != len(scales):
        raise ValueError(f"scales must be different pooling factors such as 1, 2, 4; got {scales}")


def _conv_bn_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        Conv3x3(in_channels, out_channels),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def _first_conv(layers: nn.Module) -> tuple[nn.Sequential, Conv3x3, nn.Sequential]:
    """What comes before the first convolution, it, and what comes after it."""
    assert isinstance(layers, nn.Sequential)
    place, conv = next((i, layer) for i, layer in enumerate(layers) if isinstance(layer, Conv3x3))
    return layers[:place], conv, layers[place + 1 :]


def _share(conv: Conv3x3, x: Tensor, *, first: int, bias: bool = False) -> Tensor:
    """What the input channels from `first` on give to the output of a convolution."""
    weight = conv.weight[:, first : first + x.shape[1]]
    return conv._conv_forward(x, weight, conv.bias if bias else None)


def _deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _branch(in_channels: int, hidden: int, scale: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.MaxPool2d(scale)] if scale > 1 else []
    for i in range(depth):
        layers += _conv_bn_relu(in_channels if i == 0 else hidden, hidden)
    return nn.Sequential(*layers)


def _all_scales(decoder: nn.Module, scales: Sequence[int], x: Tensor) -> Tensor:
    """Run every branch and bring it back to the size of x: (B, hidden * len(scales), h, w)."""
    if min(x.shape[-2:]) < max(scales):
        raise ValueError(
            f"features of {tuple(x.shape[-2:])} cannot be pooled by {max(scales)}: use larger "
            "crops, fewer decoder scales or an encoder with a smaller stride"
        )
    return torch.cat([_resize(decoder.get_submodule(f"decoder{s}")(x), x) for s in scales], 1)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)

"""What every encoder says about itself, so that whoever has one can use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selfsup_motion.errors import UserError

Sees = Literal["image", "clip"]
"""An image (B, 3, H, W), or a clip (B, 3, T, H, W)."""

_SHOULD_BE = {
    "sees": 'set `sees = "image"` in its class if it takes (B, 3, H, W), `sees = "clip"` if it '
    "takes (B, 3, T, H, W)",
    "input_mean": "set it to three numbers for RGB in [0, 255]; the encoder is given "
    "(RGB - input_mean) / input_std",
    "input_std": "set it to three numbers for RGB in [0, 255]; the encoder is given "
    "(RGB - input_mean) / input_std",
    "stride": "set it to the whole number of input pixels per output pixel",
    "out_channels": "set it to the number of channels of its output",
    "feature_channels": "set it to the channels of each entry that its forward_features returns, "
    '{"output": 256, …}',
}


class Encoder(nn.Module):
    """Images (B, 3, H, W) → features (B, C, h, w), or clips (B, 3, T, H, W) → (B, C, t, h, w).

    An encoder of one's own need not be derived from this class, but has its attributes.

    Attributes:
        sees: "image" or "clip".
        input_mean: of R, G, B in [0, 255]: what it is given is (RGB − input_mean) / input_std.
        input_std: see above.
        stride: input pixels per output pixel.
        out_channels: channels C of the output.
    """

    sees: Sees
    input_mean: Sequence[float]
    input_std: Sequence[float]
    stride: int
    out_channels: int


class ImageEncoder(Encoder):
    """An encoder of images.

    Attributes:
        input_size: the only (height, width) that it takes; None, as of most: any. An encoder of
            one's own that takes any need not have it.
    """

    sees: Sees = "image"
    input_size: tuple[int, int] | None = None


class FeatureEncoder(ImageEncoder):
    """An encoder of images that also gives what it has on the way, as CMP's decoders need.

    Attributes:
        feature_channels: channels of each entry of `forward_features`.
    """

    feature_channels: Mapping[str, int]

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised image → "output" features, "stem" and "layer1" if there are."""
        raise NotImplementedError


class ClipEncoder(Encoder):
    """An encoder of clips.

    Attributes:
        time_stride: input frames per output frame.
    """

    sees: Sees = "clip"
    time_stride: int


def declared(encoder: nn.Module, name: str) -> Any:
    """An attribute that an encoder must have.

    Args:
        encoder: of any class.
        name: of the attribute.

    Raises:
        UserError: the encoder does not have it.
    """
    value = getattr(encoder, name, None)  # of somebody else's class
    if value is None:
        raise UserError(
            f"encoder: {type(encoder).__name__} has no {name}, which is needed here: "
            f"{_SHOULD_BE[name]}."
        )
    return value


def sees_clips(encoder: nn.Module) -> bool:
    """Whether it is an encoder of clips; else it is one of images.

    Raises:
        UserError: it does not say, or something else.
    """
    sees = declared(encoder, "sees")
    if sees not in ("image", "clip"):
        raise UserError(
            f'encoder: {type(encoder).__name__} has sees={sees!r}, which must be "image" or "clip".'
        )
    return bool(sees == "clip")


def check_sees(encoder: nn.Module, wanted: Sees, user: str) -> None:
    """Make sure that an encoder is one of images, or one of clips.

    Args:
        encoder: of any class.
        wanted: what it must see.
        user: who needs it, for the message.

    Raises:
        UserError: it sees something else, or does not say what.
    """
    if sees_clips(encoder) == (wanted == "clip"):
        return
    kinds = {
        "image": "images (encoder=resnet18, alexnet, …, or a run of CorrFlow or CMP)",
        "clip": "clips (encoder=r3d8, r2d3d18, r2p1d10, …, or a run of MoSI)",
    }
    other = "images" if wanted == "clip" else "clips"
    raise UserError(
        f"{user} needs an encoder of {kinds[wanted]}; {type(encoder).__name__} is an encoder of "
        f"{other}."
    )


def input_statistics(encoder: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (3, 1, 1) float32 each, of RGB in [0, 255].

    Raises:
        UserError: the encoder does not say, or not by three numbers.
    """
    found = []
    for name in ("input_mean", "input_std"):
        value = torch.as_tensor(declared(encoder, name), dtype=torch.float32)
        if value.numel() != 3:
            raise UserError(
                f"encoder: {type(encoder).__name__} has an {name} of {value.numel()} numbers: "
                f"{_SHOULD_BE[name]}."
            )
        found.append(value.detach().cpu().view(3, 1, 1))
    return found[0], found[1]

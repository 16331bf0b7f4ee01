"""From uint8 frames to features, whatever the encoder."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.convolution import Conv3x3
from selfsup_motion.models.encoder import check_sees, input_statistics
from selfsup_motion.models.precision import own_precision

Precision = Literal["32", "bf16", "16"]
_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class LayerOutput:
    """What an encoder, or one of its layers, makes of an image.

    Args:
        encoder: (B, 3, H, W) float -> (B, C, h, w).
        layer: name of the submodule whose output is taken instead (`layer3`); what comes after
            it is not computed. None: the encoder's output.

    Attributes:
        stride: pixels per cell of the features.
        channels: of the features.

    Raises:
        ValueError: the encoder has no such layer, or its output is no feature map.
    """

    def __init__(self, encoder: nn.Module, layer: str | None) -> None:
        name = type(encoder).__name__
        self.encoder = encoder
        self._layer: nn.Module | None = None
        if layer is not None:
            found = dict(encoder.named_modules())
            if layer not in found:
                outer = ", ".join(key for key, _ in encoder.named_children())
                raise ValueError(
                    f"{name} has no layer {layer!r}, it has {outer}; null takes its output"
                )
            self._layer = found[layer]
        self.stride, self.channels = self._measured(layer or name)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, channels, H / stride, W / stride)."""
        if self._layer is None:
            output: Tensor = self.encoder(x)
            return output
        handle = self._layer.register_forward_hook(_stop)
        try:
            self.encoder(x)
        except _Reached as reached:
            return reached.output
        finally:
            handle.remove()
        raise ValueError("the encoder's forward does not use this layer")

    @torch.inference_mode()
    def _measured(self, name: str) -> tuple[int, int]:
        """Stride and channels, from the output for a small image; in evaluation mode."""
        height, width = self._measuring_size()
        device = next((p.device for p in self.encoder.parameters()), torch.device("cpu"))
        with own_precision(self.encoder):
            features = self(torch.zeros(1, 3, height, width, device=device))
        shape = tuple(features.shape)
        if len(shape) == 3:
            raise ValueError(
                f"{name} gives {shape} for a {height}x{width} image, tokens and no feature map; a "
                "transformer of encoder=timm or encoder=transformers has encoder.block=<number>"
            )
        stride = height // shape[2] if len(shape) == 4 else 0
        if stride == 0 or (stride * shape[2], stride * shape[3]) != (height, width):
            raise ValueError(
                f"{name} gives {shape} for a {height}x{width} image, so its stride is not a whole "
                "number"
            )
        return stride, shape[1]

    def _measuring_size(self) -> tuple[int, int]:
        """Height and width of an image that the encoder takes."""
        if (only := getattr(self.encoder, "input_size", None)) is not None:
            return int(only[0]), int(only[1])
        side = 96  # a multiple of 2, 3, 4, 6, 8, 12, 16, 32
        stride = getattr(self.encoder, "stride", side)
        if isinstance(stride, int) and side % stride:  # patches of 14 pixels
            side = 8 * stride
        return side, side


def finite(features: Tensor) -> Tensor:
    """The features themselves; compared with others, NaN would give some answer.

    Raises:
        UserError: they are not finite.
    """
    if not bool(features.isfinite().all()):
        raise UserError(
            "The encoder's features are not finite: its weights are not, or they overflow in half "
            "precision (then use precision=32)."
        )
    return features


def whole_cells(x: Tensor, stride: int) -> Tensor:
    """Extend (B, C, H, W) to a multiple of the stride by repeating the last row and column."""
    bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


class FrameEncoder(nn.Module):
    """An encoder with its input normalisation, in evaluation mode.

    Args:
        encoder: (B, 3, H, W) float -> (B, C, h, w).
        layer: name of the submodule whose output is taken instead (`layer3`); what comes after
            it is not computed. None: the encoder's output.
        precision: of the encoder's computations, by autocast; the features are float32.

    Attributes:
        layer: as given.
        stride: pixels per cell of the features.
        out_channels: of the features.

    Raises:
        UserError: an encoder of clips, or one that does not say what it sees and by which
            normalisation.
        ValueError: the encoder has no such layer, or its output is no feature map.
    """

    def __init__(
        self, encoder: nn.Module, layer: str | None = None, precision: Precision = "32"
    ) -> None:
        super().__init__()
        check_sees(encoder, "image", "Comparing frames")
        mean, std = input_statistics(encoder)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.encoder = encoder.eval()
        self._planar = any(isinstance(module, Conv3x3) for module in encoder.modules())
        if not self._planar:
            self.encoder.to(memory_format=torch.channels_last)
        self.precision, self.layer = precision, layer
        self._output = LayerOutput(self.encoder, layer)
        self.stride, self.out_channels = self._output.stride, self._output.channels

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.get_buffer("mean").device

    def padding(self, size: tuple[int, int]) -> tuple[int, int]:
        """Pixels (bottom, right) that frames of this (height, width) are extended by."""
        return -size[0] % self.stride, -size[1] % self.stride

    @torch.inference_mode()
    def forward(self, frames: Tensor) -> Tensor:
        """Features of frames.

        Args:
            frames: (B, 3, H, W) uint8 RGB, of any size: the last row and column are repeated up to
                a whole number of cells.

        Returns:
            (B, out_channels, ceil(H / stride), ceil(W / stride)) float32.
        """
        x = whole_cells(frames.to(self.device).float(), self.stride)
        x = (x - self.get_buffer("mean")) / self.get_buffer("std")
        if x.device.type != "cpu" or not self._planar:  # where channels_last is faster
            x = x.contiguous(memory_format=torch.channels_last)
        dtype = _DTYPES.get(self.precision)
        with torch.autocast(x.device.type, dtype) if dtype else own_precision(self.encoder):
            return self._output(x).float()


class _Reached(Exception):  # no error
    """The layer has computed; what follows is not needed."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


def _stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
    raise _Reached(output)

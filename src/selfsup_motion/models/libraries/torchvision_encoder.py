"""Any image network of torchvision as an encoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.models.libraries.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LibraryEncoder,
    as_map,
    listening,
    measured,
)

_HEADS = ("fc", "classifier", "head", "heads", "AuxLogits", "aux1", "aux2")
_LAST = (
    "layer4",
    "features",
    "trunk_output",
    "conv5",
    "layers",
    "Mixed_7c",
    "inception5b",
    "blocks",
)
"""Where the families of torchvision end: the first of these that a network has is its output."""


class TorchvisionEncoder(LibraryEncoder):
    """A network of torchvision without its pooling and classifier.

    For ResNets whose deeper layers are dilated (stride 8) there is `ResNetEncoder`.

    Args:
        name: as torchvision calls it: `resnet50`, `convnext_tiny`, `vit_b_16`, ….
        weights: file with torchvision's weights for it; null: random ones. Nothing is ever
            downloaded.
        weights_key: where in the file they are, if it holds several networks.
        layer: whose output is taken (`layer3`, `features.4`); what comes after it is not computed.
            null: the last one with a feature map, of a vision transformer the normalised patch
            tokens, with interpolated position embeddings.
        resize: images whose sides the patches of a transformer do not divide are resized to the
            next size; false: they are refused.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.

    Raises:
        UserError: there is no such network, or none of its layers is known to be the last.
        CheckpointError: the file is missing or damaged, or holds other weights.
        ValueError: there is no such layer, or its output is no feature map.
    """

    input_mean, input_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        name: str,
        weights: ExistingFile | None = None,
        weights_key: str | None = None,
        layer: str | None = None,
        resize: bool = True,
    ) -> None:
        super().__init__()
        self.made_of, self.resize = f"torchvision's {name}", resize
        self.network = _created(name)
        self.read_weights(weights, weights_key)
        self._is_vit = layer is None and hasattr(self.network, "conv_proj")
        if self._is_vit:
            self.stride = self.multiple = self.network.patch_size
            self.out_channels = self.network.hidden_dim
            return
        self.layer = layer or next((part for part in _LAST if hasattr(self.network, part)), None)
        if self.layer is None or self.layer not in dict(self.network.named_modules()):
            known = ", ".join(part for part, _ in self.network.named_children())
            raise ValueError(f"layer={layer}: {self.made_of} has {known}")
        if isinstance(whole := self.network.get_submodule(self.layer), nn.ModuleList):
            self.layer = f"{self.layer}.{len(whole) - 1}"
        if name.startswith("maxvit"):
            self.input_size = (224, 224)  # its windows divide no other
        sides = (96, 192) if self.input_size is None else (224,)
        found = {measured(self, side) for side in sides}
        if len(found) > 1:
            raise ValueError(
                f"{self.made_of} pads no borders, so its stride is not a whole number; choose "
                "another network, or an earlier layer"
            )
        self.stride, self.out_channels = found.pop()

    def features(self, x: Tensor) -> Tensor:
        if self._is_vit:
            return self._patch_tokens(x)
        assert self.layer is not None
        with listening(self.network.get_submodule(self.layer), stop=True) as heard:
            try:
                self.network(x)
            except (AssertionError, RuntimeError) as error:
                if self.input_size in (None, tuple(x.shape[-2:])):
                    raise
                raise self.unfit(x, error) from error
        found = heard[0]
        # shifted-window transformers have the channels last
        return found.permute(0, 3, 1, 2) if hasattr(self.network, "permute") else found

    def _patch_tokens(self, x: Tensor) -> Tensor:
        """As torchvision's `VisionTransformer.forward`, for any size."""
        network = self.network
        grid = x.shape[-2] // self.stride, x.shape[-1] // self.stride
        patches = network.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((network.class_token.expand(len(x), -1, -1), patches), 1)
        encoder = network.encoder
        tokens = encoder.dropout(tokens + _interpolated(encoder.pos_embedding, grid))
        return as_map(encoder.ln(encoder.layers(tokens)), grid, self.made_of)


def _interpolated(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1, 1 + n², C) of a class token and square patches, for another grid."""
    side = round((embedding.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return embedding
    old = embedding[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    new = F.interpolate(old, grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat((embedding[:, :1], new.flatten(2).transpose(1, 2)), 1)


def _created(name: str) -> Any:
    """torchvision's network with random weights and without a classifier.

    Raises:
        UserError: it has no such network.
    """
    import torchvision  # type: ignore[import-untyped]

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {close[0]}?" if close else f": it has {', '.join(known)}."
        raise UserError(f"encoder.name={name}: torchvision has no such network{hint}")
    # without the argument these two warn that it is going to change
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network: Any = torchvision.models.get_model(name, weights=None, **extra)
    for head in _HEADS:
        if hasattr(network, head):
            setattr(network, head, None if head.lower().startswith("aux") else nn.Identity())
    if hasattr(network, "aux_logits"):
        network.aux_logits = False
    return network

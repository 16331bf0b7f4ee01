"""Encoders as networks of torchvision and timm: their names for the weights, and what is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.libraries.base import LibraryEncoder, listening
from selfsup_motion.models.libraries.timm_encoder import TimmEncoder
from selfsup_motion.models.libraries.torchvision_encoder import TorchvisionEncoder
from selfsup_motion.models.resnet import BLOCKS, STAGES, ResNetEncoder
from selfsup_motion.models.undilated_resnet import UndilatedResNet
from selfsup_motion.models.video_networks import TorchvisionVideoEncoder

Library = Literal["torchvision", "timm"]

_WIDTH = 64
_TENTH = "torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])"
_OF_CONVOLUTIONS = ("stride", "padding", "dilation", "padding_mode")
_TOLERANCE = 1e-3
"""Of the largest value."""


@dataclass(frozen=True)
class LibraryNetwork:
    """A network of a library that computes what an encoder does.

    Attributes:
        library: its name.
        call: the expression that builds it.
        removed: its parts that become `nn.Identity`.
        changes: attributes of its convolutions that differ from what the call builds, by name.
        weights: by the library's names.
        output: the part whose output is the encoder's, before the encoder's own projection.
        left_out: parts of the encoder that the library has no place for.
        inside: the part of the encoder that corresponds to `output`.
        network: the built network, with the weights.
    """

    library: Library
    call: str
    output: str
    network: nn.Module
    weights: Mapping[str, Tensor]
    inside: nn.Module
    removed: tuple[str, ...] = ()
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def check(self, encoder: nn.Module, example: Tensor) -> float:
        """The largest difference between the outputs of both for an image or clip.

        Raises:
            UserError: it is more than rounding.
        """
        results = []
        with torch.no_grad():
            for network, part in ((encoder, self.inside), (self.network, self.output)):
                module = network.get_submodule(part) if isinstance(part, str) else part
                # not stopped there: an encoder may listen to the same part itself
                with listening(module, stop=False) as heard:
                    network(example)
                results.append(heard[0])
        return compared(results[0], results[1], self.library)


def compared(ours: Tensor, theirs: Tensor, program: str) -> float:
    """The largest difference between two outputs.

    Raises:
        UserError: they are not the same.
    """
    if ours.shape != theirs.shape:
        raise UserError(
            f"What {program} computes has shape {tuple(theirs.shape)} instead of "
            f"{tuple(ours.shape)}, so nothing is written."
        )
    worst = float((ours - theirs).abs().max())
    if not worst <= _TOLERANCE * max(1.0, float(ours.abs().max())):
        raise UserError(
            f"What {program} computes differs from the encoder by up to {worst:.3g}, so nothing is "
            "written."
        )
    return worst


def in_library(encoder: nn.Module, library: Library) -> LibraryNetwork:
    """An encoder as a network of a library.

    Args:
        encoder: in evaluation mode, on the CPU.
        library: "torchvision" or "timm", which is installed.

    Raises:
        UserError: the library has no such network.
    """
    if isinstance(encoder, ResNetEncoder | UndilatedResNet):
        return _resnet(encoder, library)
    if isinstance(encoder, TorchvisionVideoEncoder) and library == "torchvision":
        removed = ("classifier",) if encoder.parts == ["features"] else ("fc",)
        call = f"torchvision.models.video.{encoder.name}()"
        return _built(encoder, library, call, removed, encoder.parts[-1])
    own = TorchvisionEncoder if library == "torchvision" else TimmEncoder
    if isinstance(encoder, own) and isinstance(encoder, LibraryEncoder):
        return _own(encoder, library)
    raise UserError(
        f"format={library}: {library} has no network like {type(encoder).__name__}; use "
        "format=onnx, torch_export or safetensors."
    )


def _resnet(encoder: ResNetEncoder | UndilatedResNet, library: Library) -> LibraryNetwork:
    width = int(encoder.conv1.weight.shape[0])
    if width != _WIDTH:
        raise UserError(
            f"format={library}: {library} has no ResNet of width {width}, only of {_WIDTH}; use "
            "format=onnx, torch_export or safetensors."
        )
    layers = [part for name, part in encoder.named_children() if name in STAGES]
    depth = _depth(layers)
    undilated = isinstance(encoder, UndilatedResNet)
    removed = () if len(layers) == len(STAGES) else ("layer4",)
    if undilated and encoder.stride < 8:
        removed = (*removed, "maxpool")
    if library == "timm":
        if depth == 10:
            raise UserError("format=timm: timm has no such ResNet-10; use format=torchvision.")
        call = f'timm.create_model("resnet{depth}", num_classes=0)'
    else:
        removed = ("fc", *removed)
        call = _TENTH if depth == 10 else f"torchvision.models.resnet{depth}()"
    return _built(encoder, library, call, removed, STAGES[2 if undilated else 3])


def _depth(layers: Sequence[nn.Module]) -> int:
    """Of a ResNet with these layers."""
    kind = type(next(layers[0].children()))
    counts = tuple(len(list(layer.children())) for layer in layers)
    return next(
        depth
        for depth, (block, whole) in BLOCKS.items()
        if block is kind and whole[: len(counts)] == counts
    )


def _own(encoder: Any, library: Library) -> LibraryNetwork:
    """An encoder that is a network of that library already."""
    name = encoder.made_of.partition(" ")[2]
    if library == "timm":
        call = f'timm.create_model("{name}", num_classes=0)'
        return _built(
            encoder.network,
            library,
            call,
            (),
            encoder.network.feature_info[encoder.block]["module"],
        )
    last = "encoder" if encoder._is_vit else encoder.layer
    parts = encoder.network.named_children()
    removed = tuple(name for name, part in parts if isinstance(part, nn.Identity))
    return _built(encoder.network, library, f"torchvision.models.{name}()", removed, last)


def _built(
    encoder: nn.Module, library: Library, call: str, removed: tuple[str, ...], output: str
) -> LibraryNetwork:
    """Build the library's network, give it the weights and set its convolutions as the encoder's.

    Raises:
        UserError: the weights do not fit.
    """
    network = build_network(call)
    for name in removed:
        setattr(network, name, nn.Identity())
    wanted = network.state_dict()
    weights = {name: value for name, value in encoder.state_dict().items() if name in wanted}
    if lacking := [name for name in wanted if name not in weights]:
        raise UserError(
            f"format={library}: {call} has {lacking[0]}, which {type(encoder).__name__} lacks; use "
            "format=onnx, torch_export or safetensors."
        )
    network.load_state_dict(weights)
    parts = dict(network.named_modules())
    changes: dict[str, dict[str, Any]] = {}
    for name, part in encoder.named_modules():
        if not isinstance(part, nn.Conv2d) or not isinstance(parts.get(name), nn.Conv2d):
            continue
        for key in _OF_CONVOLUTIONS:
            if (value := getattr(part, key)) != getattr(parts[name], key):
                changes.setdefault(name, {})[key] = value
                setattr(parts[name], key, value)
    left_out = {name.partition(".")[0] for name in encoder.state_dict() if name not in wanted}
    return LibraryNetwork(
        library=library,
        call=call,
        output=output,
        network=network.eval(),
        weights=weights,
        inside=encoder.get_submodule(output),
        removed=removed,
        changes=changes,
        left_out=tuple(sorted(left_out)),
    )


def build_network(call: str) -> nn.Module:
    """A library's network of random weights.

    Args:
        call: of `LibraryNetwork`.
    """
    if call.startswith("timm."):
        import timm

        made: nn.Module = timm.create_model(call.split('"')[1], num_classes=0)
        return made
    import torchvision.models.video  # type: ignore[import-untyped]

    models = torchvision.models
    if call == _TENTH:
        tenth: nn.Module = models.resnet.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
        return tenth
    where, name = call.removesuffix("()").rsplit(".", 1)
    builder = getattr(models.video if where.endswith("video") else models, name)
    found: nn.Module = builder(weights=None)
    return found

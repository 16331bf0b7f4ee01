"""Networks as programs that run without this package: ONNX and `torch.export`."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export, save

from selfsup_motion.apps.exporting.library import compared
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.export import export_flow
from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.methods.cmp.propagate import working_size
from selfsup_motion.models.encoder import declared, input_statistics, sees_clips
from selfsup_motion.models.libraries.base import LibraryEncoder
from selfsup_motion.ops.attention import Border, Window, restricted_attention

ProgramFormat = Literal["onnx", "torch_export"]

FILES: dict[ProgramFormat, str] = {"onnx": "model.onnx", "torch_export": "model.pt2"}
_METADATA = "selfsup_motion"
_EXAMPLE = (96, 128)
_SIDE = 224
"""Of images for networks of other libraries, whose position embeddings are of some size."""
_FRAMES = 8


@dataclass(frozen=True)
class Program:
    """A network that is traced.

    Attributes:
        exported: by `torch.export`.
        outputs: names of its outputs.
        examples: inputs by name, one set of each kind that it must take.
        expected: what it must give for each set.
        about: its inputs and outputs, for a person.
    """

    exported: ExportedProgram
    outputs: tuple[str, ...]
    examples: tuple[dict[str, Tensor], ...]
    expected: tuple[Tensor, ...]
    about: dict[str, str]


class Attention(nn.Module):
    """Restricted attention without weights: `ops.attention.restricted_attention`.

    Args:
        radius: of the window, in cells.
        scale: factor on the dot products.
        border: see there.
        window: see there.
        top_k: see there.
    """

    def __init__(
        self,
        radius: int = 12,
        scale: float = 1.0,
        border: Border = "exclude",
        window: Window = "square",
        top_k: int | None = None,
    ) -> None:
        super().__init__()
        if radius < 1 or (top_k is not None and top_k < 1):
            raise UserError("attention.radius and attention.top_k: expected at least 1.")
        self.radius, self.scale, self.top_k = radius, scale, top_k
        self.border, self.window = border, window

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, C, h, w), (B, N, C, h, w) and (B, N, D, h, w) -> (B, D, h, w)."""
        return restricted_attention(
            query,
            key,
            value,
            self.radius,
            scale=self.scale,
            border=self.border,
            window=self.window,
            top_k=self.top_k,
            backend="unfold",
        )


class Encode(nn.Module):
    """An encoder with its normalisation: RGB from 0 to 1 → features."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        sides = 3 if sees_clips(encoder) else 2
        for name, value in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, value.reshape(3, *[1] * sides), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), or (B, 3, T, H, W) of clips -> the encoder's features."""
        features: Tensor = self.encoder((image * 255 - self.mean) / self.std)
        return features


def encoder_program(encoder: nn.Module) -> Program:
    """An encoder of images or of clips, for any number of them, and any size where it takes any.

    Args:
        encoder: in evaluation mode, on the CPU.

    Raises:
        UserError: it cannot be traced.
    """
    clips, size = sees_clips(encoder), getattr(encoder, "input_size", None)
    fixed = size is not None or isinstance(encoder, LibraryEncoder)
    height, width = size or ((_SIDE, _SIDE) if fixed else _EXAMPLE)
    frames = (_FRAMES,) if clips else ()
    first = torch.rand(2, 3, *frames, height, width)
    other = torch.rand(3, 3, *frames, *((height, width) if fixed else (height + 32, width - 32)))
    made = Encode(encoder).eval()
    free: dict[int, Any] = {0: Dim.AUTO}
    if not fixed:
        free |= {first.ndim - 2: Dim.AUTO, first.ndim - 1: Dim.AUTO}
    with _quiet(), torch.no_grad():
        exported = _traced(made, (first,), {"image": free}, type(encoder).__name__)
        expected = (made(first), made(other))
    axes = f"T={_FRAMES}, " if clips else ""
    sides = f"{height}, {width}" if fixed else "H, W"
    about = {
        "image": f"(B, 3, {axes}{sides}) float32, RGB from 0 to 1",
        "features": f"(B, {declared(encoder, 'out_channels')}, …), one cell for "
        f"{declared(encoder, 'stride')} x {declared(encoder, 'stride')} pixels",
    }
    return Program(exported, ("features",), ({"image": first}, {"image": other}), expected, about)


def flow_program(method: nn.Module, size: tuple[int, int]) -> Program:
    """A CMP as it answers arrows: `export_flow`.

    Args:
        method: a CMP in evaluation mode, on the CPU.
        size: (H, W) of the image.

    Raises:
        UserError: it is another method, or the network does not take images of this size.
    """
    if not isinstance(method, CMPNetwork):
        raise UserError(
            f"part=flow: {type(method).__name__} answers no arrows, a CMP does; use part=encoder."
        )
    fitting = working_size(size, None, int(method.encoder.stride))  # type: ignore[arg-type]
    if fitting != size:
        raise UserError(
            f"size=[{size[0]},{size[1]}] does not fit the network, use "
            f"size=[{fitting[0]},{fitting[1]}]."
        )
    with _quiet():
        exported = export_flow(method, size)
    examples, expected = [], []
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *size, generator=generator)
    for maps, count in ((1, 1), (2, 7)):
        points = torch.rand(maps, count, 2, generator=generator) * (min(size) - 1)
        vectors = 4 * torch.randn(maps, count, 2, generator=generator)
        used = torch.ones(maps, count, dtype=torch.bool)
        used[:, 3:] = False
        examples.append({"image": image, "points": points, "vectors": vectors, "point_mask": used})
        expected.append(method.propagate(image[0], points, vectors, used))
    about = {
        "image": f"(1, 3, {size[0]}, {size[1]}) float32, RGB from 0 to 1",
        "points": "(N, K, 2) float32, x and y in pixels: N sets of up to K points",
        "vectors": "(N, K, 2) float32, how each of them moves, in pixels",
        "point_mask": "(N, K) bool, false where a row has no such point",
        "flow": f"(N, 2, {size[0]}, {size[1]}) float32, in pixels, x right and y down",
    }
    return Program(exported, ("flow",), tuple(examples), tuple(expected), about)


def attention_program(attention: Attention, size: tuple[int, int]) -> Program:
    """Restricted attention between feature maps of one size.

    Args:
        attention: which one.
        size: (h, w) of the feature maps.

    Raises:
        UserError: the window cannot be had there.
    """
    generator = torch.Generator().manual_seed(0)

    def example(batch: int, references: int, channels: int) -> dict[str, Tensor]:
        shape = (batch, references)
        return {
            "query": torch.rand(batch, 32, *size, generator=generator),
            "key": torch.rand(*shape, 32, *size, generator=generator),
            "value": torch.rand(*shape, channels, *size, generator=generator),
        }

    examples = (example(2, 3, 4), example(1, 2, 5))
    attention = attention.eval()
    free = {
        "query": {0: Dim.AUTO, 1: Dim.AUTO},
        "key": {0: Dim.AUTO, 1: Dim.AUTO, 2: Dim.AUTO},
        "value": {0: Dim.AUTO, 1: Dim.AUTO, 2: Dim.AUTO},
    }
    try:
        with _quiet(), torch.no_grad():
            exported = _traced(attention, tuple(examples[0].values()), free, "the attention")
            expected = tuple(attention(**each) for each in examples)
    except ValueError as error:
        raise UserError(f"attention: {error}") from error
    rows, columns = size
    about = {
        "query": f"(B, C, {rows}, {columns}) float32, features of the frame that is asked about",
        "key": f"(B, N, C, {rows}, {columns}) float32, features of N frames that are known",
        "value": f"(B, N, D, {rows}, {columns}) float32, what is copied from them, as labels",
        "copy": f"(B, D, {rows}, {columns}) float32",
    }
    return Program(exported, ("copy",), examples, expected, about)


def write_program(
    program: Program, form: ProgramFormat, folder: Path, facts: Mapping[str, Any]
) -> float:
    """Write a program, read it again with the library that runs it, and compare what it computes.

    Args:
        program: that was traced.
        form: of the file.
        folder: for `model.onnx` or `model.pt2`.
        facts: plain values that the file carries along.

    Returns:
        The largest difference to the network's own outputs.

    Raises:
        UserError: the form cannot express the network, or its program computes something else.
    """
    file = folder / FILES[form]
    text = json.dumps(facts)
    if form == "torch_export":
        save(program.exported, file, extra_files={f"{_METADATA}.json": text})
        loaded = torch.export.load(file).module()
        with torch.no_grad():
            found = [loaded(*example.values()) for example in program.examples]
    else:
        _write_onnx(program, file, text)
        found = [_run_onnx(file, example) for example in program.examples]
    return max(
        compared(wanted, given, f"the {form} program")
        for wanted, given in zip(program.expected, found, strict=True)
    )


def _write_onnx(program: Program, file: Path, text: str) -> None:
    names = list(program.examples[0])
    try:
        with _quiet(), torch.no_grad():
            made = torch.onnx.export(
                program.exported,
                input_names=names,
                output_names=list(program.outputs),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # of the exporter: any operator that it does not know
        cause: BaseException = error
        while cause.__cause__ is not None:  # what it tells first is about reporting it
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0].rstrip(".")
        raise UserError(
            f"format=onnx cannot express this network ({reason}); use format=torch_export."
        ) from error
    assert made is not None
    made.model.metadata_props[_METADATA] = text
    made.save(file)


def _run_onnx(file: Path, example: Mapping[str, Tensor]) -> Tensor:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads of its own would wait for work by spinning
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = {one.name for one in session.get_inputs()}
    inputs = {name: value.numpy() for name, value in example.items() if name in taken}
    return torch.from_numpy(session.run(None, inputs)[0])


def _traced(
    module: nn.Module, example: tuple[Tensor, ...], free: dict[str, Any], name: str
) -> ExportedProgram:
    try:
        return export(module, example, dynamic_shapes=free)
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{name} cannot be traced as a program ({reason}); use format=safetensors."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell a lot that nobody can act upon."""
    names = ("torch.onnx", "onnxscript", "torch.export", "torch._dynamo")
    before = {name: logging.getLogger(name).level for name in names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in names:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)

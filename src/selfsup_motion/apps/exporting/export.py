"""One export: a checkpoint in, a folder out that another program reads."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from selfsup_motion import __version__
from selfsup_motion.apps.exporting.facts import card_of_shipped, facts_of, write_facts
from selfsup_motion.apps.exporting.library import LibraryNetwork, in_library
from selfsup_motion.apps.exporting.programs import (
    FILES,
    Attention,
    Program,
    attention_program,
    encoder_program,
    flow_program,
    write_program,
)
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.files.tensors import write_tensors
from selfsup_motion.models.encoder import input_statistics, sees_clips
from selfsup_motion.models.libraries.base import LibraryEncoder
from selfsup_motion.settings.trust import Trust
from selfsup_motion.weights.checkpoints import load_encoder, load_network
from selfsup_motion.weights.contents import KEY, method_name, read_checkpoint
from selfsup_motion.weights.portable import write_portable
from selfsup_motion.weights.run_folders import MODEL_FILE, checkpoint_file
from selfsup_motion.weights.used import made_from

Format = Literal["safetensors", "torchvision", "timm", "onnx", "torch_export"]
Part = Literal["encoder", "method", "flow", "attention"]

_PARTS: dict[Format, tuple[Part, ...]] = {
    "safetensors": ("method", "encoder"),
    "torchvision": ("encoder",),
    "timm": ("encoder",),
    "onnx": ("encoder", "flow", "attention"),
    "torch_export": ("encoder", "flow", "attention"),
}
"""What each format can hold; the first is meant if nothing is said."""
_INSTEAD = {
    "method": "a whole method is kept by format=safetensors",
    "flow": "a CMP's answers to arrows are a program: format=onnx or torch_export",
    "attention": "attention is a program: format=onnx or torch_export",
}


class Export:
    """What `python -m selfsup_motion.export` does."""

    def __init__(
        self,
        *,
        checkpoint: str | None,
        checkpoint_key: str | None,
        trust: Trust,
        format: Format,
        output: str,
        part: Part | None,
        size: Sequence[int] | None,
        licence: str | None,
        attention: Attention,
    ) -> None:
        """Describe it; nothing is read before `run`.

        Args:
            checkpoint: a run folder, a file, or the name of a model that comes with the package;
                None: `part` is "attention", which has no weights.
            checkpoint_key: of the weights in the file, if it holds several networks.
            trust: packages of the user's own that the checkpoint may use.
            format: of the result.
            output: the folder that is made.
            part: what is exported; None: the first that the format can hold.
            size: (H, W) of the image of "flow", of the feature maps of "attention".
            licence: of the weights, as `README.md` shall state it.
            attention: that "attention" exports.

        Raises:
            UserError: arguments that do not go together.
        """
        parts = _PARTS[format]
        self.part: Part = part or parts[0]
        if self.part not in parts:
            raise UserError(f"part={self.part}: format={format} cannot hold that; "
                            f"{_INSTEAD.get(self.part, 'leave part out')}.")  # fmt: skip
        programs = self.part in ("flow", "attention")
        if programs and (size is None or len(size) != 2 or min(size) < 1):
            raise UserError(
                f"part={self.part} needs the size of its input: size=[<height>,<width>]."
            )
        if not programs and size is not None:
            raise UserError(f"size: part={self.part} takes images of any size, leave it out.")
        if (checkpoint is None) != (self.part == "attention"):
            raise UserError(
                "part=attention has no weights, leave checkpoint out."
                if checkpoint is not None
                else "Which network? Give checkpoint=<file or run folder>."
            )
        self.format, self.output, self.licence = format, Path(output), licence
        self.checkpoint, self.key, self.trust = checkpoint, checkpoint_key, trust
        self.size = (int(size[0]), int(size[1])) if size is not None else (0, 0)
        self.attention = attention

    def run(self) -> list[str]:
        """Write the folder, and check it by reading it again with the library that it is for.

        Returns:
            Lines that tell what was written.

        Raises:
            UserError: the network cannot be expressed, or the checkpoint cannot be read.
        """
        facts, card = facts_of(None, self.licence), None
        if self.checkpoint is not None:
            file = checkpoint_file(self.checkpoint)
            facts, card = facts_of(file, self.licence), card_of_shipped(file)
            self.checkpoint = str(file)
        if card is not None:
            facts["card"] = card
        torch.manual_seed(0)  # of the examples that it is checked with
        with _new_folder(self.output) as folder:
            if self.format == "safetensors":
                checked = self._write_weights(folder, facts)
            elif self.format in ("torchvision", "timm"):
                checked = self._write_library(folder, facts)
            else:
                checked = self._write_program(folder, facts)
            sizes = {file.name: file.stat().st_size / 1e6 for file in sorted(folder.iterdir())}
        files = ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items() if size >= 0.1)
        return [f"{self.output}: {files}, config.json, README.md", checked]

    def _encoder(self) -> nn.Module:
        assert self.checkpoint is not None
        return load_encoder(self.checkpoint, key=self.key, trust=self.trust)

    def _write_weights(self, folder: Path, facts: dict[str, Any]) -> str:
        """A folder that `load_method` or `load_encoder` takes."""
        assert self.checkpoint is not None
        source = Path(self.checkpoint)
        if self.part == "method":
            try:
                content = read_checkpoint(source)
            except CheckpointError as error:
                raise UserError(
                    f"{source}: only a run of this package says how its method is built again; use "
                    "part=encoder."
                ) from error
            if self.key is not None:
                raise UserError("checkpoint_key goes with part=encoder.")
            run, step, weights = content[KEY], content["global_step"], content["state_dict"]
            kind, loader = method_name(run["config"]), "load_method"
            title, architecture = kind, kind
        else:
            encoder = self._encoder()
            node = made_from(encoder)
            run = {"version": __version__, "experiment": facts["recipe"].get("experiment"),
                   "config": {"encoder": node}}  # fmt: skip
            step = int(facts["recipe"].get("step") or 0)
            weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
            architecture, loader = type(encoder).__name__, "load_encoder"
            title = self._title(encoder, facts)
        write_portable(folder / MODEL_FILE, weights, run, step, dtype=torch.float32)
        usage = (
            "import selfsup_motion as ssm\n\n"
            f'network = ssm.{loader}("<this folder>")  # in evaluation mode, on the CPU'
        )
        write_facts(
            folder, facts, title=title, library="selfsup_motion", about={}, usage=usage, notes=[],
            config={"model_type": "selfsup_motion", "architectures": [architecture]},
        )  # fmt: skip
        loaded = (
            load_network(folder, trust=self.trust)
            if self.part == "method"
            else load_encoder(folder, trust=self.trust)
        )
        count = sum(parameter.numel() for parameter in loaded.parameters())
        return f"read again: {type(loaded).__name__}, {count / 1e6:.2f} million weights"

    def _write_library(self, folder: Path, facts: dict[str, Any]) -> str:
        library = self.format
        assert library in ("torchvision", "timm")
        encoder = self._encoder()
        if library == "timm" and sees_clips(encoder):
            raise UserError("format=timm: timm has no networks of clips; use format=torchvision.")
        found = in_library(encoder, library)
        worst = found.check(encoder, _example(encoder))
        weights = {name: value.contiguous() for name, value in found.weights.items()}
        write_tensors(folder / MODEL_FILE, weights, {"format": "pt"})
        mean, std = (value.flatten() / 255 for value in input_statistics(encoder))
        normalised = f"(RGB from 0 to 1 − {_numbers(mean)}) / {_numbers(std)}"
        config: dict[str, Any] = {
            "removed": list(found.removed),
            "changes": {name: dict(value) for name, value in found.changes.items()},
            "output": found.output,
        }
        if library == "timm":
            cfg = {"mean": mean.tolist(), "std": std.tolist(), "num_classes": 0}
            name = found.call.split('"')[1]
            config = {"architecture": name, "num_classes": 0, "pretrained_cfg": cfg, **config}
        write_facts(
            folder, facts, title=self._title(encoder, facts), library=library,
            about={"input": f"{'clips' if sees_clips(encoder) else 'images'}, {normalised}",
                   "output": f"of the part `{found.output}`"},
            usage=_usage(found), notes=_notes(found), config=config,
        )  # fmt: skip
        return (
            f"read again by {library} as {found.call}: the output of {found.output} differs from "
            f"the encoder's by at most {worst:.1e}"
        )

    def _write_program(self, folder: Path, facts: dict[str, Any]) -> str:
        form = self.format
        assert form in ("onnx", "torch_export")
        made, title = self._program(facts)
        worst = write_program(made, form, folder, facts)
        file = FILES[form]
        first = {name: list(value.shape) for name, value in made.examples[0].items()}
        usage = _ONNX if form == "onnx" else _TORCH
        write_facts(
            folder, facts, title=title, library=form.replace("torch_export", "pytorch"),
            about=made.about, usage=usage, notes=[],
            config={"program": file, "inputs": list(first), "example_shapes": first},
        )  # fmt: skip
        program = "onnxruntime" if form == "onnx" else "torch.export.load"
        return f"run again by {program}: outputs differ from the network's by at most {worst:.1e}"

    def _program(self, facts: dict[str, Any]) -> tuple[Program, str]:
        if self.part == "attention":
            settings = {name: getattr(self.attention, name) for name in
                        ("radius", "scale", "border", "window", "top_k")}  # fmt: skip
            facts["attention"] = settings
            return attention_program(self.attention, self.size), "Restricted attention"
        if self.part == "flow":
            assert self.checkpoint is not None
            network = load_network(self.checkpoint, key=self.key, trust=self.trust)
            return flow_program(network, self.size), f"Flow from arrows ({type(network).__name__})"
        encoder = self._encoder()
        return encoder_program(encoder), self._title(encoder, facts)

    def _title(self, encoder: nn.Module, facts: dict[str, Any]) -> str:
        method = str(facts["recipe"].get("method") or "").rpartition(".")[2]
        return f"{type(encoder).__name__}{f', the encoder of {method}' if method else ''}"


_ONNX = """
import json
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
print([(each.name, each.shape, each.type) for each in session.get_inputs()])
shapes = json.load(open("config.json"))["example_shapes"]
(result,) = session.run(None, {
    each.name: np.ones(shapes[each.name], bool if each.type == "tensor(bool)" else np.float32)
    for each in session.get_inputs()
})
"""
_TORCH = """
import json
import torch

program = torch.export.load("model.pt2").module()
config = json.load(open("config.json"))
result = program(*(
    torch.ones(shape, dtype=torch.bool if name == "point_mask" else torch.float32)
    for name, shape in config["example_shapes"].items()
))
"""


def _usage(found: LibraryNetwork) -> str:
    """Python that builds the network from the folder."""
    imports = "import timm" if found.library == "timm" else "import torchvision"
    return f"""
import json
import torch
{imports}
from safetensors.torch import load_file

config = json.load(open("config.json"))
network = {found.call}
for name in config["removed"]:
    setattr(network, name, torch.nn.Identity())
network.load_state_dict(load_file("{MODEL_FILE}"))
for name, settings in config["changes"].items():  # strides, paddings and dilations of the encoder
    for key, value in settings.items():
        value = tuple(value) if isinstance(value, list) else value
        setattr(network.get_submodule(name), key, value)
network.eval()
"""


def _notes(found: LibraryNetwork) -> list[str]:
    notes = []
    if found.changes:
        notes.append(
            f"Without the last loop the network has the strides of {found.library}: the same "
            "weights, other features."
        )
    elif found.library == "timm" and not found.removed:
        notes.append('`timm.create_model("local-dir:<this folder>")` builds it as well.')
    if found.left_out:
        notes.append(
            f"Left out, since {found.library} has no place for it: {', '.join(found.left_out)} of "
            "the encoder."
        )
    return notes


def _example(encoder: nn.Module) -> torch.Tensor:
    """A normalised image or clip."""
    size = getattr(encoder, "input_size", None)
    if size is None:
        # at its end, S3D of torchvision pools 2 × 7 × 7 cells of 8 frames and 32 × 32 pixels
        whole = isinstance(encoder, LibraryEncoder) or sees_clips(encoder)
        size = (224, 224) if whole else (96, 128)
    frames = (16,) if sees_clips(encoder) else ()
    return torch.randn(2, 3, *frames, *size)


def _numbers(values: torch.Tensor) -> str:
    return f"[{', '.join(f'{float(value):.4g}' for value in values)}]"


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.mkdir(parents=True)
    try:
        yield draft
        if path.exists() and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)

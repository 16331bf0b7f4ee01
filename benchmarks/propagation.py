"""Following objects at 480p (854 × 480).

    python benchmarks/propagation.py [--device cuda]

Random weights and random frames; a call is a frame, with a full context. "Pairwise" is the
published form: both frames of a pair are encoded, layer by layer with PyTorch's own convolutions,
and the windows are unfolded; at half of that size, as it is slow. "Encoder alone" encodes a frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from hydra.utils import instantiate
from measuring import Call, Comparison, Make, run

from selfsup_motion.models.color_encoder import ColorPatches, LabColor
from selfsup_motion.models.convolution import Conv3x3, FoldedSequential
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.attention.unfold import unfold_attention
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.label_cells import cells_to_labels, reduce_labels
from selfsup_motion.tasks.propagation.tracking import follow_masks

SIZE, HALF = (480, 854), (240, 427)
ENCODERS: dict[str, Callable[[], FrameEncoder]] = {
    "CorrFlow's ResNet-18, stride 4": lambda: FrameEncoder(CorrFlowResNet()),
    "ResNet-18 to layer3, stride 8": lambda: FrameEncoder(ResNetEncoder(18), "layer3"),
    "Lab colours, stride 4": lambda: FrameEncoder(LabColor(4)),
    "patches of 3 × 3 colours, stride 4": lambda: FrameEncoder(ColorPatches(samples=3)),
}
RESNET, RESNET8, LAB, PATCHES = ENCODERS


def mask(objects: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    ids = np.zeros(size, np.uint8)
    for number in range(objects):
        ids[20 + 44 * number : 60 + 44 * number, 200:400] = number + 1
    return ids


def frames(size: tuple[int, int] = SIZE) -> Iterator[torch.Tensor]:
    for seed in itertools.count():
        yield torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, *size), np.uint8))


def pairwise(device: str, size: tuple[int, int]) -> Make:
    def make() -> Call:
        Conv3x3._conv_forward = torch.nn.Conv2d._conv_forward  # type: ignore[method-assign]
        FoldedSequential.forward = torch.nn.Sequential.forward  # type: ignore[method-assign]
        encoder = ENCODERS[RESNET]().to(device)
        index = torch.from_numpy(mask(1, size).astype(np.int64)).to(device)
        stream = frames(size)

        @torch.inference_mode()
        def call() -> None:
            pair = [encoder(next(stream)[None].to(device)) for _ in range(2)]
            labels = reduce_labels(index, 2, encoder.stride, "bilinear")[None, None]
            copy = unfold_attention(
                pair[1], pair[0][:, None], labels, 6, 1, 1.0, True, "square", None
            )
            cells_to_labels(copy[0], encoder.stride)

        return call

    return make


def alone(name: str, device: str) -> Make:
    def make() -> Call:
        encoder, stream = ENCODERS[name]().to(device), frames()

        @torch.inference_mode()
        def call() -> None:
            encoder(next(stream)[None].to(device))

        return call

    return make


def follow(
    name: str, preset: str, device: str, objects: int = 1, size: tuple[int, int] = SIZE
) -> Make:
    def make() -> Call:
        encoder = ENCODERS[name]().to(device)
        overrides = [f"propagator={preset}", "propagator.short_side=null"]
        cfg = compose(overrides, config_name="evaluate")
        propagator = instantiate(cfg.propagator, _convert_="all")
        masks = follow_masks(encoder, propagator, frames(size), mask(objects, size))
        full = False

        def fill() -> None:
            """The context, with frames that are neither encoded nor searched."""
            known = encoder(next(frames(size))[None].to(device))
            with (
                mock.patch.object(encoder, "forward", return_value=known),
                mock.patch.object(type(propagator._search), "copy", stay),
            ):
                for _ in range(max(propagator.recent) + (propagator.far_gap or 0) + 2):
                    next(masks)

        def call() -> None:
            nonlocal full
            if not full:
                fill()
                full = True
            next(masks)

        return call

    return make


def stay(_: object, query: torch.Tensor, context: Mapping[Any, Sequence[Any]]) -> torch.Tensor:
    """In place of a search: the labels of the newest frame."""
    newest = max((frame for kept in context.values() for frame in kept), key=lambda f: f.time)
    return newest.labels.float()  # type: ignore[no-any-return]


def comparisons(device: str) -> list[Comparison]:
    size = HALF if device == "cpu" else SIZE
    first: dict[str, Make] = {
        "pairwise, unfold": pairwise(device, size),
        "ours": follow(RESNET, "corrflow", device, size=size),
    }
    title = f"the previous frame, {size[1]} × {size[0]}; {RESNET}"
    made = [Comparison(title, first, repeats=5, unit="frame")]
    cases = [
        ("previous frame, radius 6", LAB, "corrflow"),
        ("first + 5 frames, radius 8, top 10", PATCHES, "patches"),
        ("learned: first + 5 frames, top 10", RESNET8, "learned"),
        ("MAST: 5 frames, 2 of them in two steps", RESNET, "mast"),
        ("CRW: first + 20 frames, radius 12, top 10", RESNET8, "crw"),
    ]
    for title, encoder, preset in cases:
        forms = {
            "encoder alone": alone(encoder, device),
            "encoding and following": follow(encoder, preset, device),
        }
        made.append(Comparison(f"{title}; {encoder}", forms, repeats=7, unit="frame"))
    objects: dict[str, Make] = {
        f"{n} object{'s' if n > 1 else ''}": follow(PATCHES, "patches", device, n)
        for n in (1, 2, 5)
    }
    made.append(Comparison(f"several objects; {PATCHES}", objects, repeats=7, unit="frame"))
    return made


if __name__ == "__main__":
    run(comparisons)

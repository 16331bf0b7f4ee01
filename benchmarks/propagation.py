"""Following objects at 480p (854 × 480), and scoring those of a benchmark.

    python benchmarks/propagation.py [--device cuda]

Random weights and random frames; a call is a frame, with a full context. "Pairwise" is the
published form: both frames of a pair are encoded, layer by layer with PyTorch's own convolutions,
and the windows are unfolded. "Encoder alone" encodes a frame. The evaluator follows all objects of
toy clips and scores them, with one propagation and with all thirteen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from commands import here
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

SIZE = (480, 854)
ENCODERS: dict[str, Callable[[], FrameEncoder]] = {
    "CorrFlow's ResNet-18, stride 4": lambda: FrameEncoder(CorrFlowResNet()),
    "ResNet-18 to layer3, stride 8": lambda: FrameEncoder(ResNetEncoder(18), "layer3"),
    "Lab colours, stride 4": lambda: FrameEncoder(LabColor(4)),
    "patches of 3 × 3 colours, stride 4": lambda: FrameEncoder(ColorPatches(samples=3)),
}
RESNET, RESNET8, LAB, PATCHES = ENCODERS
CLIPS, LENGTH = 2, 10


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, *SIZE), np.uint8)


def mask(objects: int) -> np.ndarray:
    ids = np.zeros(SIZE, np.uint8)
    for number in range(objects):
        ids[20 + 44 * number : 60 + 44 * number, 200:500] = number + 1
    return ids


def frames() -> Iterator[torch.Tensor]:
    return map(torch.from_numpy, map(frame, itertools.count()))


def pairwise(device: str) -> Make:
    def make() -> Call:
        Conv3x3._conv_forward = torch.nn.Conv2d._conv_forward  # type: ignore[method-assign]
        FoldedSequential.forward = torch.nn.Sequential.forward  # type: ignore[method-assign]
        encoder = ENCODERS[RESNET]().to(device)
        index = torch.from_numpy(mask(1).astype(np.int64)).to(device)
        stream = frames()

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


def follow(name: str, preset: str, device: str, objects: int = 1) -> Make:
    def make() -> Call:
        encoder = ENCODERS[name]().to(device)
        overrides = [f"propagator={preset}", "propagator.short_side=null"]
        cfg = compose(overrides, config_name="evaluate")
        propagator = instantiate(cfg.propagator, _convert_="all")
        masks = follow_masks(encoder, propagator, frames(), mask(objects))
        full = False

        def call() -> None:
            nonlocal full
            if not full:
                computed = encoder.forward
                known = encoder(next(frames())[None].to(device))
                encoder.forward = lambda _: known  # type: ignore[method-assign]
                for _ in range(max(propagator.recent) + (propagator.far_gap or 0) + 2):
                    next(masks)
                encoder.forward = computed  # type: ignore[method-assign]
                full = True
            next(masks)

        return call

    return make


def evaluate(propagator: str) -> Make:
    world = [f"data.sequences.source.num_videos={CLIPS}", f"data.sequences.length={LENGTH}"]
    task = ["task=davis2017", "data=toy", "task.baselines=[]", "encoder=color_patches"]
    return lambda: here("evaluate", *task, *world, f"propagator={propagator}", "device=cpu")


def comparisons(device: str) -> list[Comparison]:
    cases = [
        ("previous frame, radius 6", RESNET, "corrflow"),
        ("previous frame, radius 6", LAB, "corrflow"),
        ("first + 5 frames, radius 8, top 10", PATCHES, "patches"),
        ("learned: first + 5 frames, top 10", RESNET, "learned"),
        ("MAST: 5 frames, 2 of them in two steps", RESNET, "mast"),
        ("CRW: first + 20 frames, radius 12, top 10", RESNET8, "crw"),
    ]
    published: dict[str, Make] = {f"pairwise, unfold; {RESNET}": pairwise(device)}
    made: list[Comparison] = [
        Comparison(
            "the previous frame, 480p",
            published | {f"ours; {RESNET}": follow(RESNET, "corrflow", device)},
            repeats=3,
            unit="frame",
        )
    ]
    for title, encoder, preset in cases[1:]:
        forms = {
            "encoder alone": alone(encoder, device),
            "encoding and following": follow(encoder, preset, device),
        }
        made.append(Comparison(f"{title}; {encoder}", forms, repeats=5, unit="frame"))
    objects: dict[str, Make] = {
        f"{n} object{'s' if n > 1 else ''}": follow(PATCHES, "patches", device, n)
        for n in (1, 2, 5)
    }
    made.append(Comparison(f"several objects; {PATCHES}", objects, unit="frame"))
    if device == "cpu":
        scored = {name: evaluate(name) for name in ("patches", "all")}
        made.append(
            Comparison(
                "evaluate task=davis2017, clips of the toy world",
                {f"propagator={name}": form for name, form in scored.items()},
                repeats=3,
                unit="frame",
                count=CLIPS * LENGTH,
            )
        )
    return made


if __name__ == "__main__":
    run(comparisons)

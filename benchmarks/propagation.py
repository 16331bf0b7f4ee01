"""Following one object at 480p (854×480): CPU time a frame and memory.

    python benchmarks/propagation.py [--device cuda] [--frames 3]

Random weights and random frames. "pairwise" is the published form: both frames of a pair are
encoded, layer by layer with PyTorch's own convolutions, and the windows are unfolded. Every case
runs in a process of its own, for its peak memory; the context is complete before the clock starts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.connection
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from hydra.utils import instantiate

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
CASES = [  # title, encoder, propagator; None: pairwise
    ("pairwise, radius 6", "CorrFlow's ResNet-18, stride 4", None),
    ("previous frame, radius 6", "CorrFlow's ResNet-18, stride 4", "corrflow"),
    ("previous frame, radius 6", "Lab colours, stride 4", "corrflow"),
    ("MAST: 5 frames, 2 in two steps", "CorrFlow's ResNet-18, stride 4", "mast"),
    ("first + 5 frames, radius 8, top 10", "patches of 3 × 3 colours, stride 4", "patches"),
    ("first + 20 frames, radius 12, top 10", "ResNet-18 to layer3, stride 8", "crw"),
]


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, *SIZE), np.uint8)


def mask() -> np.ndarray:
    ids = np.zeros(SIZE, np.uint8)
    ids[100:300, 200:500] = 1
    return ids


def pairwise(encoder: FrameEncoder, count: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds a frame in all, and of the encoder alone, each step encoding both of its frames."""
    encoding = 0.0
    index = torch.from_numpy(mask().astype(np.int64))
    started = clock()
    for time_ in range(count):
        before = clock()
        pair = [encoder(torch.from_numpy(frame(t))[None]) for t in (time_, time_ + 1)]
        encoding += clock() - before
        labels = reduce_labels(index, 2, encoder.stride, "bilinear")[None, None]
        copy = unfold_attention(pair[1], pair[0][:, None], labels, 6, 1, 1.0, True, "square", None)
        index = cells_to_labels(copy[0], encoder.stride)[: SIZE[0], : SIZE[1]]
    return (clock() - started) / count, encoding / count


def follow(
    encoder: FrameEncoder, name: str, count: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds a frame in all, and of the encoder alone."""
    propagator = instantiate(
        compose(
            [f"propagator={name}", "propagator.short_side=null"], config_name="evaluate"
        ).propagator,
        _convert_="all",
    )
    images = [torch.from_numpy(frame(t))[None] for t in range(count + 1)]
    started = clock()
    known = encoder(images[0])
    encoding = clock() - started
    before = max(propagator.recent) + (propagator.far_gap or 0) + 1
    computed = encoder.forward
    encoder.forward = lambda _: known  # type: ignore[method-assign]  # filling the context: cheap
    stream = (images[max(0, t - before)][0].numpy() for t in range(before + count + 1))
    masks = follow_masks(encoder, propagator, stream, mask())
    for _ in range(before + 1):
        next(masks)
    encoder.forward = computed  # type: ignore[method-assign]
    started = clock()
    for _ in masks:
        pass
    return (clock() - started) / count, encoding


def measure(
    case: int, count: int, device: str, pipe: multiprocessing.connection.Connection
) -> None:
    torch.set_num_threads(1)
    _, encoder_name, propagator = CASES[case]
    encoder = ENCODERS[encoder_name]().to(device)

    def clock() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    with torch.inference_mode():
        encoder(torch.from_numpy(frame(0))[None])  # the first call chooses algorithms
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if propagator is None:
        Conv3x3._conv_forward = torch.nn.Conv2d._conv_forward  # type: ignore[method-assign]
        FoldedSequential.forward = torch.nn.Sequential.forward  # type: ignore[method-assign]
        seconds, encoding = pairwise(encoder, count, clock)
    else:
        seconds, encoding = follow(encoder, propagator, count, clock)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2**20
    pipe.send((seconds, encoding, peak))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--cases", type=int, nargs="*", default=list(range(len(CASES))))
    args = parser.parse_args()
    unit = "CPU s" if args.device == "cpu" else "s"
    print(f"{unit} a frame, one thread; extra MiB: above the process with its encoder")
    print(f"{'':38}{'encoder':34}{'all':>8}{'encoder':>9}{'rest':>8}{'MiB':>8}")
    context = multiprocessing.get_context("spawn")
    for case in args.cases:
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(case, args.frames, args.device, theirs))
        process.start()
        seconds, encoding, peak = ours.recv()
        process.join()
        title, encoder, _ = CASES[case]
        rest = seconds - encoding
        print(
            f"{title:38}{encoder:34}{seconds:8.2f}{encoding:9.2f}{rest:8.2f}{peak:8.0f}", flush=True
        )


if __name__ == "__main__":
    main()

"""A training step of CorrFlow: each frame encoded once and tiles, against pairs and unfolding.

    OMP_NUM_THREADS=1 python benchmarks/corrflow_step.py [--size 256]

The published ResNet-18, 3 frames, batch 2. Both compute the same loss, which is printed. "Pairs" is
the plain reading of the paper's sums, as in the authors' code: every copy encodes both its frames,
unfolds its windows and enlarges its result to pixels. Each form runs in a process of its own; time
is CPU time, memory the peak above what lies around before the step.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from torch import Tensor

from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.settings.compose import compose


def published_objective(model: CorrFlow, frames: Tensor, classes: Tensor) -> Tensor:
    """The losses copy by copy; the second frame copies true colours."""
    shares = F.one_hot(classes, len(model.colors)).movedim(-1, 2).float()

    def copy(source: int, target: int, pixels: Tensor) -> Tensor:
        cells = F.interpolate(pixels, scale_factor=0.25, mode="bilinear")
        features = [model(frames[:, t]) for t in (target, source)]
        copied = restricted_attention(*features, cells, model.radius, backend="unfold")
        return F.interpolate(copied, scale_factor=4, mode="bilinear")

    def loss(pixels: Tensor, t: int) -> Tensor:
        return -(pixels.gather(1, classes[:, t, None]) + 1e-8).log().mean()

    short = loss(copy(0, 1, shares[:, 0]), 1) + loss(copy(1, 2, shares[:, 1]), 2)
    there = copy(0, 1, shares[:, 0])
    long = loss(copy(1, 0, there), 0)
    far = copy(1, 2, copy(0, 1, shares[:, 0]))
    long = long + loss(copy(1, 0, copy(2, 1, far)), 0)
    return short + model.cycle_weight * long


def measure(form: str, size: int) -> dict[str, float]:
    """CPU seconds of a step, extra MiB and the first loss."""
    torch.manual_seed(0)
    cfg = compose(["experiment=paper/corrflow_oxuva", "data.root=unused"])
    model = instantiate(cfg.method, _convert_="all").train()
    optimizer = model.make_optimizer(model.parameters())
    frames = F.interpolate(torch.rand(6, 3, size // 8, size // 8), size, mode="bicubic").clamp(0, 1)
    frames = frames.unflatten(0, (2, 3))
    classes = model.classify((255 * frames).byte())

    def step() -> float:
        if form == "pairs":
            loss = published_objective(model, frames, classes)
        else:
            short, long = model.objective(model.encode(frames), classes, [True])
            loss = short + model.cycle_weight * long
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    first = step()
    seconds = time.process_time() - started
    if form == "once":  # short enough to be repeated
        started = time.process_time()
        step()
        seconds = min(seconds, time.process_time() - started)
    extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    return {"seconds": seconds, "mib": extra, "loss": first}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--form", choices=["once", "pairs"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.form:
        print(json.dumps(measure(args.form, args.size)))
        return
    results = {}
    for form in ("once", "pairs"):
        command = [sys.executable, __file__, "--form", form, "--size", str(args.size)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[form] = json.loads(output.splitlines()[-1])
    print(f"CPU, 1 thread, torch {torch.__version__}, {args.size} x {args.size}, T=3, batch 2")
    print(f"{'':24}{'CPU s':>8}{'extra MiB':>12}{'loss':>10}")
    for form, title in (("once", "each frame once, tiles"), ("pairs", "pairs, unfold")):
        r = results[form]
        print(f"{title:24}{r['seconds']:8.2f}{r['mib']:12.0f}{r['loss']:10.4f}")
    once, pairs = results["once"], results["pairs"]
    print(
        f"{'ratio':24}{pairs['seconds'] / once['seconds']:8.1f}{pairs['mib'] / once['mib']:12.1f}"
    )


if __name__ == "__main__":
    main()

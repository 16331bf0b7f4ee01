"""A training step of MoSI, and the share of it that making the clips takes.

    python benchmarks/mosi_train_step.py [--images 1] [--steps 3] [--device cuda] [--precision bf16]

The published networks at 16 frames of 112², nine motions of each image; colour per clip. Times are
medians, of the processor on a CPU and of the wall on a GPU; images are at hand as bytes, and what
the workers draw is not counted. On a CPU a single image (nine clips) is the default, for which
R(2+1)D-10 takes up to a minute a step; `--images 4` shows the same shares in four times the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from hydra.utils import instantiate

from selfsup_motion.data.clip import Clip
from selfsup_motion.settings.compose import compose

NETWORKS = {"R-2D3D-18": "paper/mosi_r2d3d_hmdb", "R(2+1)D-10": "paper/mosi_r2p1d_hmdb"}


def median_seconds(act: Callable[[], object], count: int, cuda: bool) -> float:
    clock = time.perf_counter if cuda else time.process_time
    times = []
    for _ in range(count + 1):
        begin = clock()
        act()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - begin)
    return float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, help="default: 1 on a CPU, 4 on a GPU")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32", choices=["32", "bf16"])
    args = parser.parse_args()
    cuda = args.device == "cuda"
    images = args.images or (4 if cuda else 1)
    name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, {args.precision} bit, {images} images, torch {torch.__version__}")
    print(f"{'':14}{'ms/step':>10}{'clips/s':>10}{'ms clips':>10}{'share':>8}")
    for title, experiment in NETWORKS.items():
        cfg = compose([f"experiment={experiment}", "data.root=.", "view.color=clip"])
        method = instantiate(cfg.method, _convert_="all").to(args.device).train()
        method.log = lambda *_, **__: None
        view = instantiate(cfg.view, _convert_="all")
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 256, (images, 1, 3, 320, 320), np.uint8)
        samples = [view(Clip(frames=f, key=""), rng) for f in frames]
        batch = {k: torch.stack([s[k] for s in samples]).to(args.device) for k in samples[0]}
        optimizer = method.make_optimizer(method.parameters())

        def step(method=method, optimizer=optimizer, batch=batch) -> None:
            with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
                loss = method.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def clips(method=method, batch=batch) -> None:
            method.clips(batch, method.motion, method._memory)

        whole = median_seconds(step, args.steps, cuda)
        made = median_seconds(clips, args.steps, cuda)
        count = batch["motion"].numel()
        times = f"{1e3 * whole:10.0f}{count / whole:10.1f}{1e3 * made:10.1f}"
        print(f"{title:14}{times}{made / whole:8.1%}")


if __name__ == "__main__":
    main()

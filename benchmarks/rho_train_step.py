"""A training step of the methods that compare clips of a video, against bare passes of the encoder.

    python benchmarks/rho_train_step.py [--videos 8] [--steps 3] [--frames 8] [--size 64]

Bare passes are those that a step cannot do without: forward and backward of each clip that learns,
and forward of each that a slow copy embeds. The rest is changing the clips, heads, losses, queue,
and the copy's step. Times are medians, of the processor on a CPU and of the wall on a GPU; clips
are at hand as bytes.
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

# experiment: clips that learn, clips that the slow copy embeds
METHODS = {
    "rho_moco": (2, 2),
    "rho_byol": (2, 2),
    "rho_simclr": (2, 0),
    "rho_swav": (2, 0),
    "wmse": (2, 0),
    "dsm": (2, 1),
}


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
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--encoder", default="r3d8")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    cuda = args.device == "cuda"
    print(f"{args.videos} videos, clips of {args.frames} x {args.size}², {args.encoder}")
    print(f"{'':12}{'ms/step':>10}{'ms bare':>10}{'ratio':>8}")
    for name, (learn, follow) in METHODS.items():
        overrides = [f"experiment={name}", f"encoder={args.encoder}", f"changes.size={args.size}"]
        if name == "wmse":
            overrides += ["method.dim=2", "method.whitening=4"]
        cfg = compose(overrides)
        method = instantiate(cfg.method, _convert_="all").to(args.device).train()
        method.log = lambda *_, **__: None
        view = instantiate(cfg.view, _convert_="all")
        rng = np.random.default_rng(0)
        field = view.field
        videos = rng.integers(0, 256, (args.videos, 2 * args.frames, 3, field, field), np.uint8)
        samples = [view(Clip(frames=f, key=""), rng) for f in videos]
        batch = {k: torch.stack([s[k] for s in samples]).to(args.device) for k in samples[0]}
        optimizer = method.make_optimizer([p for p in method.parameters() if p.requires_grad])
        shape = (args.videos, args.frames, 3, args.size, args.size)
        clips = torch.rand(shape, device=args.device)

        def step(method=method, batch=batch, optimizer=optimizer) -> None:
            loss = method.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            method.on_after_backward()
            optimizer.step()
            if getattr(method, "target", None) is not None:
                method.target.follow(0.99, encoder=method.encoder, head=method.head)

        def bare(method=method, clips=clips, learn=learn, follow=follow) -> None:
            method.features(torch.cat([clips] * learn)).sum().backward()
            with torch.no_grad():
                for _ in range(follow):
                    method.features(clips)

        whole, least = (median_seconds(act, args.steps, cuda) for act in (step, bare))
        print(f"{name:12}{1000 * whole:10.1f}{1000 * least:10.1f}{whole / least:8.2f}", flush=True)


if __name__ == "__main__":
    main()

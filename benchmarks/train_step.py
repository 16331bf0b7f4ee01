"""A training step of CMP: the small default and the published network.

    python benchmarks/train_step.py [--device cuda] [--precision bf16]

Random input; guidance is given, so that data loading does not count.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from hydra.utils import instantiate

from selfsup_motion.utils.config import compose

SETTINGS = [  # title, experiment, side, batch on cpu, batch on cuda, points
    ("small (cmp_points, ResNet-10)", "cmp", 128, 4, 64, 36),
    ("published (cmp, ResNet-50)", "paper/cmp_resnet50", 320, 2, 10, 25),
]


def batch_of(size: int, batch: int, points: int, device: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = {
        "image": torch.randint(0, 256, (batch, 3, size, size), generator=generator).byte(),
        "flow": torch.randn(batch, 2, size, size, generator=generator) * 5,
        "valid": torch.ones(batch, size, size, dtype=torch.bool),
        "points": torch.rand(batch, points, 2, generator=generator) * (size - 1),
        "vectors": torch.randn(batch, points, 2, generator=generator) * 5,
        "point_mask": torch.ones(batch, points, dtype=torch.bool),
    }
    return {name: value.to(device) for name, value in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32", choices=["32", "bf16"])
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    cuda = args.device == "cuda"
    name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, {args.precision} bit, torch {torch.__version__}")
    print(f"{'':32}{'batch':>6}{'ms/step':>10}{'samples/s':>11}{'peak MiB':>10}")
    for title, experiment, size, on_cpu, on_cuda, points in SETTINGS:
        cfg = compose([f"experiment={experiment}"])
        method = instantiate(cfg.method, _convert_="all").to(args.device).train()
        method.log = lambda *_, **__: None
        optimizer = method.make_optimizer(method.parameters())
        count = on_cuda if cuda else on_cpu
        batch = batch_of(size, count, points, args.device)

        def step(method=method, optimizer=optimizer, batch=batch) -> None:
            with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
                loss = method.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        step()
        step()
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        for _ in range(args.steps):
            step()
        if cuda:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - started) / args.steps
        peak = (
            torch.cuda.max_memory_allocated() / 2**20
            if cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        )
        print(f"{title:32}{count:6}{1e3 * seconds:10.0f}{count / seconds:11.1f}{peak:10.0f}")


if __name__ == "__main__":
    main()

"""CMP's full-resolution loss: ours against the direct form, forward and backward.

    python benchmarks/flow_loss.py [--device cuda] [--batch 4] [--size 384] [--threads 1]
                                   [--spacing quadratic]

Each measurement runs in a process of its own. On a CPU "peak" is the growth of the resident memory
during the step, on CUDA what the allocator handed out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

STRIDES = {"AlexNet, stride 32": 32, "ResNet, stride 8": 8, "skip decoder, stride 2": 2}


def measure(
    form: str, device: str, batch: int, size: int, stride: int, threads: int, spacing: str
) -> dict:
    import torch
    import torch.nn.functional as F

    from selfsup_motion.ops.flow import FlowBins

    torch.set_num_threads(threads)
    bins = FlowBins(99, 50.0, spacing)
    generator = torch.Generator().manual_seed(0)
    shape = (batch, bins.channels, size // stride, size // stride)
    scores = torch.randn(shape, generator=generator).to(device).requires_grad_()
    flow = (10 * torch.randn(batch, 2, size, size, generator=generator)).to(device)

    def direct():
        full = F.interpolate(scores, (size, size), mode="bilinear", align_corners=True)
        labels = bins.encode(flow)
        return sum(F.cross_entropy(s, labels[:, i]) for i, s in enumerate(full.chunk(2, 1)))

    def step() -> float:
        scores.grad = None
        loss = direct() if form == "direct" else bins.loss(scores, flow)
        loss.backward()
        return loss.item()

    def step_at_small_size() -> None:  # loads kernels and libraries before memory is measured
        small = torch.zeros(1, bins.channels, 2, 2, device=device, requires_grad=True)
        target = torch.zeros(1, 2, 8, 8, device=device)
        bins.loss(small, target).backward()
        full = F.interpolate(small, (8, 8), mode="bilinear", align_corners=True)
        F.cross_entropy(full, torch.zeros(1, 8, 8, dtype=torch.long, device=device)).backward()

    def peak() -> float:
        if device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    step_at_small_size()
    before = peak()
    loss = step()
    grown = peak() - before
    seconds = []
    for _ in range(3 if device == "cpu" else 20):
        if device == "cuda":
            torch.cuda.synchronize()
        clock = time.process_time if device == "cpu" and threads == 1 else time.perf_counter
        start = clock()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    return {"loss": loss, "grad": scores.grad.norm().item(), "s": min(seconds), "MiB": grown}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--spacing", default="linear", choices=["linear", "quadratic"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # the child process
    args = parser.parse_args()
    if args.measure:
        form, stride = args.measure.split(":")
        options = (args.device, args.batch, args.size, int(stride), args.threads, args.spacing)
        print(json.dumps(measure(form, *options)))
        return

    shape = f"batch {args.batch}, {args.size}x{args.size}, 2 x 99 {args.spacing} bins"
    print(f"{shape}, {args.device}")
    header = ("direct s", "ours s", "ratio", "direct MiB", "ours MiB", "ratio")
    print(f"{'':24}" + "".join(f"{h:>12}" for h in header))
    for name, stride in STRIDES.items():
        rows = {}
        for form in ("direct", "ours"):
            command = [sys.executable, __file__, "--measure", f"{form}:{stride}"]
            for option in ("device", "batch", "size", "threads", "spacing"):
                command += [f"--{option}", str(getattr(args, option))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows[form] = json.loads(done.stdout)
        direct, ours = rows["direct"], rows["ours"]
        for key in ("loss", "grad"):
            if abs(ours[key] / direct[key] - 1) > 1e-4:
                raise SystemExit(f"{name}: {key} differs, {direct[key]} and {ours[key]}")
        print(
            f"{name:24}{direct['s']:12.3f}{ours['s']:12.3f}{direct['s'] / ours['s']:11.1f}x"
            f"{direct['MiB']:12.0f}{ours['MiB']:12.0f}{direct['MiB'] / max(ours['MiB'], 1):11.0f}x"
        )


if __name__ == "__main__":
    main()

"""Restricted attention, forward and backward: tiles against unfolding.

    OMP_NUM_THREADS=1 python benchmarks/attention.py [--device cuda]

B=2, C=256, 64 × 64, radius 6, 16 channels copied (CorrFlow at 256 × 256 pixels). Time is CPU time,
memory is the peak above what lies around before the call (of the process; of the device on CUDA).
Each form runs in a process of its own, so that one's freed memory is not the other's.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from selfsup_motion.ops.attention import restricted_attention

BATCH, CHANNELS, SIDE, RADIUS, COPIED = 2, 256, 64, 6, 16
POSITIONS = (2 * RADIUS + 1) ** 2
# scores, and copies; backwards their gradients with respect to query, key, weights and values
PRODUCTS = BATCH * SIDE**2 * POSITIONS * (3 * CHANNELS + 3 * COPIED) * 2


def peak(cuda: bool) -> float:
    """MiB."""
    if cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def now(cuda: bool) -> float:
    """Seconds: of the CPU, or on the clock with a device's work done."""
    if cuda:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def gemm_rate(device: str) -> float:
    """FLOP/s of a matrix product with sides of 1024."""
    a = torch.randn(1024, 1024, device=device)
    rates = []
    for _ in range(20):
        started = now(device == "cuda")
        a @ a
        rates.append(2 * 1024**3 / (now(device == "cuda") - started))
    return statistics.median(rates)


def measure(backend: str, device: str, repeats: int) -> dict[str, float]:
    """Milliseconds, extra MiB and a checksum of one form."""
    cuda = device == "cuda"
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(BATCH, n, SIDE, SIDE, generator=generator).to(device)
        for n in (CHANNELS, CHANNELS, COPIED, COPIED)
    ]
    query, key, value = (tensor.requires_grad_() for tensor in made[:3])

    def step() -> tuple[torch.Tensor, ...]:
        out = restricted_attention(query, key, value, RADIUS, scale=0.0625, backend=backend)  # type: ignore[arg-type]
        return torch.autograd.grad(out, (query, key, value), made[3])

    rate = gemm_rate(device)
    before = peak(cuda)
    gradients = step()
    extra = peak(cuda) - before
    times = []
    for _ in range(repeats):
        started = now(cuda)
        step()
        times.append(now(cuda) - started)
    return {
        "ms": 1e3 * statistics.median(times),
        "mib": extra,
        "bound_ms": 1e3 * PRODUCTS / rate,
        "checksum": float(sum(g.double().abs().sum() for g in gradients)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--form", choices=["tiles", "unfold"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.form:
        repeats = 3 if args.form == "unfold" and args.device == "cpu" else 9
        print(json.dumps(measure(args.form, args.device, repeats)))
        return
    results = {}
    for form in ("tiles", "unfold"):
        command = [sys.executable, __file__, "--form", form, "--device", args.device]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[form] = json.loads(output.splitlines()[-1])
    print(f"{args.device}, 1 thread, torch {torch.__version__}, forward and backward")
    print(f"{'':10}{'ms':>9}{'extra MiB':>12}{'x bound':>9}")
    for form, result in results.items():
        times = result["ms"] / result["bound_ms"]
        print(f"{form:10}{result['ms']:9.0f}{result['mib']:12.0f}{times:9.1f}")
    tiles, unfold = results["tiles"], results["unfold"]
    print(f"{'ratio':10}{unfold['ms'] / tiles['ms']:9.1f}{unfold['mib'] / tiles['mib']:12.1f}")
    print(f"bound: {PRODUCTS / 1e9:.1f} GFLOP at the measured rate, {tiles['bound_ms']:.0f} ms")
    difference = abs(tiles["checksum"] / unfold["checksum"] - 1)
    print(f"gradients differ by {difference:.1e} in their sum")


if __name__ == "__main__":
    main()

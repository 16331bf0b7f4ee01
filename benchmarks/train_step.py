"""A training step of CMP: the small default and the three published networks.

    python benchmarks/train_step.py [--device cuda] [--precision bf16] [--steps 1] [--only skip]

Random input; guidance is given, so that data loading does not count. "direct" is the same step with
the scores of the whole batch upsampled to full resolution before the softmax, as published. Each
measurement runs in a process of its own. On a CPU time is processor time (of one thread), and
memory the growth of the resident memory from the loaded network to the step's peak; on CUDA they
are wall time and what the allocator handed out.
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

from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.settings.compose import compose

SETTINGS = {  # name: experiment, side, batch on cpu, batch on cuda, points
    "small default": ("cmp", 128, 4, 64, 36),
    "AlexNet": ("paper/cmp_alexnet", 384, 4, 12, 30),
    "ResNet-50": ("paper/cmp_resnet50", 320, 4, 10, 8),
    "ResNet-50 skip": ("paper/cmp_resnet50_annotation", 384, 4, 8, 15),
}


class DirectBins(FlowBins):
    """The published form of the loss."""

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        scores = F.interpolate(scores, flow.shape[-2:], mode="bilinear", align_corners=True)
        labels = self.encode(flow)
        x, y = (F.cross_entropy(s, labels[:, i]) for i, s in enumerate(scores.chunk(2, 1)))
        return x + y


def batch_of(size: int, batch: int, points: int, device: str) -> dict[str, Tensor]:
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


def measure(name: str, form: str, device: str, precision: str, steps: int) -> dict[str, float]:
    """Seconds and MiB of a step."""
    experiment, size, on_cpu, on_cuda, points = SETTINGS[name]
    cuda = device == "cuda"
    torch.manual_seed(0)
    method = (
        instantiate(compose([f"experiment={experiment}"]).method, _convert_="all")
        .to(device)
        .train()
    )
    method.log = lambda *_, **__: None
    if form == "direct":
        bins = method.motion_code
        method.motion_code = DirectBins(bins.num_bins, bins.max_flow, bins.spacing)
    optimizer = method.make_optimizer(method.parameters())
    batch = batch_of(size, on_cuda if cuda else on_cpu, points, device)

    def step() -> float:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = method.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for the device

    def peak() -> float:
        if cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    clock = time.perf_counter if cuda else time.process_time
    before = peak()
    loss = step()
    started = clock()
    for _ in range(steps):
        step()
    return {"s": (clock() - started) / steps, "MiB": peak() - before, "loss": loss}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32", choices=["32", "bf16"])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # the child process
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = ["--device", args.device, "--precision", args.precision, "--steps", str(args.steps)]
    if args.measure:
        print(json.dumps(measure(*args.measure, args.device, args.precision, args.steps)))
        return

    cuda = args.device == "cuda"
    where = torch.cuda.get_device_name() if cuda else "CPU, 1 thread"
    print(f"{where}, {args.precision} bit, torch {torch.__version__}")
    header = ("side", "batch", "direct s", "ours s", "ratio", "direct MiB", "ours MiB")
    print(f"{'':16}" + "".join(f"{h:>11}" for h in header))
    for name, (_, size, on_cpu, on_cuda, _) in SETTINGS.items():
        if args.only not in name:
            continue
        found = {}
        for form in ("direct", "ours"):
            command = [sys.executable, __file__, "--measure", name, form, *options]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[form] = json.loads(done.stdout.splitlines()[-1])
        direct, ours = found["direct"], found["ours"]
        if abs(ours["loss"] / direct["loss"] - 1) > (1e-2 if args.precision == "bf16" else 1e-4):
            raise SystemExit(f"{name}: the losses differ, {direct['loss']} and {ours['loss']}")
        batch, ratio = on_cuda if cuda else on_cpu, direct["s"] / ours["s"]
        print(
            f"{name:16}{size:11}{batch:11}{direct['s']:11.2f}{ours['s']:11.2f}{ratio:10.1f}x"
            f"{direct['MiB']:11.0f}{ours['MiB']:11.0f}"
        )


if __name__ == "__main__":
    main()

"""Training on two processes of one machine, and what to expect of 8 and 64 GPUs.

    python benchmarks/ddp.py [--projection]

Weak scaling: each process takes a whole batch; strong scaling: they share it. One thread a process,
gloo; time is the wall's and needs an idle machine with two cores. `--projection` prints, for each
published recipe, the operations of a step, the bytes of its gradients and the efficiency that
follows if a GPU computes at `RATE` and gradients travel at `LINKS`, hidden behind the backward pass
as far as they can be: they come as the backward pass goes, so that what takes longer than it shows.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from bare import outside_of_trainer
from measuring import Call, Comparison, Make, run
from recipes import Batch, Recipe, cmp, mosi, toy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

RATE = 100e12
"""Operations a second that a GPU is taken to reach, in mixed precision: a third of an A100's."""
LINKS = {8: 150e9, 64: 20e9}
"""Bytes a second for a GPU, by GPUs: NVLink in a machine, 160 Gbit/s for each GPU beyond."""


class Step(torch.nn.Module):
    """A training step as a forward pass, which `DistributedDataParallel` knows how to wrap."""

    def __init__(self, method: pl.LightningModule) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.method.training_step(batch, 0)  # type: ignore[return-value]


def share(batch: Batch, parts: int) -> Batch:
    return {k: v[: len(v) // parts] if len(v) > 1 else v for k, v in batch.items()}


def stepper(experiment: str, parts: int, ranks: int) -> Call:
    recipe = toy(experiment)
    method = recipe.method
    module: torch.nn.Module = Step(outside_of_trainer(method))
    optimizer = method.make_optimizer(method.parameters())  # type: ignore[operator]
    if ranks > 1:
        module = DistributedDataParallel(module)
    mine = share(recipe.batch, parts)

    def call() -> None:
        optimizer.zero_grad()
        module(mine).backward()
        optimizer.step()

    return call


def other_rank(experiment: str, parts: int, store: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=1, world_size=2)
    call = stepper(experiment, parts, 2)
    while pipe.recv():
        call()
    os._exit(0)


def processes(experiment: str, parts: int, ranks: int) -> Make:
    def make() -> Call:
        if ranks == 1:
            return stepper(experiment, parts, 1)
        ours, theirs = multiprocessing.Pipe()
        store = str(Path(tempfile.mkdtemp()) / "store")
        context = multiprocessing.get_context("fork")
        context.Process(
            target=other_rank, args=(experiment, parts, store, theirs), daemon=True
        ).start()
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=2)
        call = stepper(experiment, parts, 2)

        def both() -> None:
            ours.send(True)
            call()

        return both

    return make


def comparisons(device: str) -> list[Comparison]:
    return [
        Comparison(
            f"`experiment={name}`",
            {
                "one process, a batch": processes(name, 1, 1),
                "two processes, a batch each (weak)": processes(name, 1, 2),
                "two processes, half a batch each (strong)": processes(name, 2, 2),
            },
            agree=None,
            unit="step",
            clock="wall",
        )
        for name in ("cmp", "corrflow")
    ]


def projection() -> str:
    """A table, as Markdown."""
    cases: dict[str, tuple[Callable[[], Recipe], str, int]] = {  # what is counted, samples a GPU
        "CMP, AlexNet": (lambda: cmp("paper/cmp_alexnet", "cpu"), "image", 12),
        "CMP, ResNet-50": (lambda: cmp("paper/cmp_resnet50", "cpu"), "image", 10),
        "MoSI, R-2D3D-18": (lambda: mosi("paper/mosi_r2d3d_hmdb", "cpu"), "motion", 4),
    }
    head = ["samples a GPU", "TFLOP a step", "ms", "MB of gradients"]
    head += [f"{n} GPUs" for n in LINKS]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, (made, key, samples) in cases.items():
        recipe = made()
        method = outside_of_trainer(recipe.method).to("meta")  # counted, not computed
        batch = {part: value.to("meta") for part, value in recipe.batch.items()}
        # `meta` knows no mixed precision, which could be switched off
        without = mock.patch("torch.autocast", return_value=nullcontext())
        with without, FlopCounterMode(display=False) as counter:
            method.training_step(batch, 0).backward()
        operations = counter.get_total_flops() * samples / len(batch[key])
        seconds = operations / RATE
        size = sum(4 * p.numel() for p in method.parameters() if p.requires_grad)
        row = [
            f"{samples}",
            f"{operations / 1e12:.2f}",
            f"{1e3 * seconds:.1f}",
            f"{size / 1e6:.0f}",
        ]
        for count, link in LINKS.items():
            sent = 2 * (count - 1) / count * size / link
            row.append(f"{seconds / (seconds + max(0.0, sent - 2 / 3 * seconds)):.0%}")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    if "--projection" in sys.argv:
        print(projection())
    else:
        run(comparisons)

"""What PyTorch's compiler costs and saves in a training step of each method.

    python benchmarks/compiling.py [EXPERIMENT ...] [--device cuda]

Prints the rows of the table in docs/scaling.md. A step is forward and backward on a batch that is
there already. It is taken in turns by the plain and the compiled networks, nine times each, with
one thread; the ratio is the median of the pairs. `compile=true` is for GPUs: on a CPU this shows
why.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
import statistics
import time
from collections.abc import Callable

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # of earlier runs
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # in this process, whose time is taken

import pytorch_lightning as pl
import torch
from bare import outside_of_trainer
from recipes import toy
from steps import TOY
from torch import Tensor
from torch.utils._pytree import tree_map

from selfsup_motion.training.compiling import compiled

CALLS = 9


def processor() -> float:
    """CPU seconds of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def seconds(work: Callable[[], object], device: str) -> float:
    """CPU seconds of a call, those of C++ compilers included; on a GPU seconds until its end."""
    clock = processor if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def row(experiment: str, device: str) -> str:
    """The row of one experiment."""
    recipe = toy(experiment)
    batch = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, recipe.batch)
    plain = outside_of_trainer(copy.deepcopy(recipe.method).to(device))
    fast = outside_of_trainer(recipe.method.to(device))

    def step(module: pl.LightningModule) -> None:
        module.zero_grad()
        recipe.loss(module, batch).backward()  # type: ignore[no-untyped-call]

    with compiled(fast):
        first = seconds(lambda: step(fast), device)
        step(plain)
        pairs = [
            (seconds(lambda: step(plain), device), seconds(lambda: step(fast), device))
            for _ in range(CALLS)
        ]
    slow, quick = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    saved = slow * (1 - ratio)
    back = f"{first / saved:.0f} steps" if saved > 0.02 * slow else "never"
    return (
        f"| `{experiment}` | {first - quick:.0f} s | {1e3 * slow:.0f} ms | {1e3 * quick:.0f} ms "
        f"| {ratio:.2f} | {back} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiments", nargs="*", default=TOY, metavar="EXPERIMENT")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    if unknown := set(args.experiments) - set(TOY):
        parser.error(f"{', '.join(sorted(unknown))}: choose among {', '.join(TOY)}")
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    head = ("`experiment=`", "compiling", "step, plain", "step, compiled", "ratio", "back after")
    print(f"| {' | '.join(head)} |")
    print("|---|---|---|---|---|---|")
    for experiment in args.experiments:
        torch._dynamo.reset()
        print(row(experiment, args.device), flush=True)


if __name__ == "__main__":
    main()

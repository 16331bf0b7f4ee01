"""A training step of each correspondence method, against its bare encoder on the same input.

    OMP_NUM_THREADS=1 python benchmarks/correspondence_step.py [--only crw] [--steps 4] [--profile]

The toy recipes as they are (`experiment=<name>`), batches from their own loaders, one thread,
processor time. A step is forward, backward and optimiser; loading does not count. "Bare" calls the
encoder with the inputs that it had in that step and goes back through it from ones, where the step
had gradients. Both are the quickest of `--steps`.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from selfsup_motion.library.build import build

EXPERIMENTS = (
    "corrflow", "baseline/video_colorization", "mast", "crw", "cycletime", "dense_ulearn",
)  # fmt: skip
_ENTRIES = ("forward", "forward_deep", "embed")


class Calls:
    """Remembers what an encoder is called with, from outside of it only.

    Attributes:
        calls: (name of the method, its input, whether gradients were on).
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.calls: list[tuple[str, Tensor, bool]] = []
        self.encoder, self._depth = encoder, 0
        self._names = [name for name in _ENTRIES if hasattr(encoder, name)]
        for name in self._names:
            setattr(encoder, name, self._recorded(name, getattr(encoder, name)))

    def end(self) -> None:
        """Leave the encoder as it was."""
        for name in self._names:
            delattr(self.encoder, name)

    def _recorded(self, name: str, function: Any) -> Any:
        def recorded(x: Tensor) -> Tensor:
            if self._depth == 0:
                self.calls.append((name, x.detach(), torch.is_grad_enabled()))
            self._depth += 1
            try:
                result: Tensor = function(x)
            finally:
                self._depth -= 1
            return result

        return recorded


class Timed(pl.Callback):
    """Processor seconds of training steps; the first one warms up, the second's calls are kept."""

    def __init__(self, profiled: bool) -> None:
        self.seconds: list[float] = []
        self.calls: Calls | None = None
        self.profiled = profiled
        self.profile: profile | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if trainer.global_step == 1:
            self.calls = Calls(pl_module.encoder)  # type: ignore[arg-type]
            if self.profiled:
                self.profile = profile(activities=[ProfilerActivity.CPU])
                self.profile.__enter__()
        self._started = time.process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        seconds = time.process_time() - self._started
        if trainer.global_step == 2:
            assert self.calls is not None
            self.calls.end()
            if self.profile is not None:
                self.profile.__exit__(None, None, None)
        elif trainer.global_step > 2:
            self.seconds.append(seconds)


def bare(calls: Calls) -> float:
    """Processor seconds of the same calls alone, forward and backward."""
    started = time.process_time()
    for name, x, gradients in calls.calls:
        with torch.set_grad_enabled(gradients):
            features = getattr(calls.encoder, name)(x)
        if gradients:
            features.backward(torch.ones_like(features))
    calls.encoder.zero_grad()
    return time.process_time() - started


def measure(experiment: str, overrides: list[str], steps: int, profiled: bool) -> list[float]:
    """Seconds of a step and of the bare encoder, and the encoder's images a step."""
    settings = ["data.num_workers=0", "data.val_videos=1", *overrides]
    method, data = build(f"experiment={experiment}", *settings)
    timed = Timed(profiled)
    trainer = pl.Trainer(
        max_steps=steps + 2, limit_val_batches=0, num_sanity_val_steps=0, callbacks=[timed],
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(method, data)
    assert timed.calls is not None
    bare(timed.calls)
    alone = min(bare(timed.calls) for _ in range(steps))
    if timed.profile is not None:
        table = timed.profile.key_averages()
        print(table.table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=50))
    return [min(timed.seconds), alone, sum(len(x) for _, x, _ in timed.calls.calls)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=EXPERIMENTS, metavar="EXPERIMENT")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of the recipes: encoder=corrflow_small")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    print(f"CPU seconds, 1 thread, torch {torch.__version__}")
    print(f"{'experiment':30}{'step':>8}{'encoder':>9}{'ratio':>7}{'images a step':>15}")
    for experiment in args.only:
        step, alone, images = measure(experiment, args.overrides, args.steps, args.profile)
        print(
            f"{experiment:30}{step:8.3f}{alone:9.3f}{step / alone:7.2f}{images:15.0f}", flush=True
        )


if __name__ == "__main__":
    main()

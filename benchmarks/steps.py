"""Training steps, against nothing but their networks on the same input.

    python benchmarks/steps.py [--device cuda] [--only cmp]

The recipes as they are, batches from their own loaders; for the published networks, whose data are
not at hand, random ones. A step is forward, backward and optimiser. "Networks" repeats the calls of
the encoder, decoder and heads that the step made, with its inputs, and goes back through each from
ones, where the step had gradients. "Loading a batch" is what a worker does meanwhile. On a GPU with
bf16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from bare import outside_of_trainer, recorded, replay
from hydra.utils import instantiate
from measuring import Call, Comparison, Make, run
from torch import Tensor
from torch.utils._pytree import tree_map
from train_step import SETTINGS, batch_of

from selfsup_motion.data.clip import Clip
from selfsup_motion.library.build import build
from selfsup_motion.settings.compose import compose

Batch = dict[str, Any]
TOY = (
    "cmp", "corrflow", "mosi", "mast", "crw", "cycletime", "dense_ulearn", "cmd", "rho_moco", "dsm",
)  # fmt: skip


def toy(experiment: str) -> tuple[pl.LightningModule, Batch, Call]:
    """Method, a batch, and what loads one."""
    method, data = build(f"experiment={experiment}", "data.num_workers=0", "data.val_videos=1")
    data.setup("fit")
    batches = iter(data.train_dataloader())

    def load() -> None:
        next(batches)

    return method, next(batches), load


def published_cmp(name: str) -> tuple[pl.LightningModule, Batch, None]:
    experiment, size, on_cpu, _, points = SETTINGS[name]
    method = instantiate(compose([f"experiment={experiment}"]).method, _convert_="all")
    return method, batch_of(size, on_cpu, points, "cpu"), None


def published_mosi() -> tuple[pl.LightningModule, Batch, None]:
    """R-2D3D-18; nine clips of an image."""
    cfg = compose(["experiment=paper/mosi_r2d3d_hmdb", "data.root=.", "view.color=clip"])
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 3, 320, 320), np.uint8)
    sample = instantiate(cfg.view, _convert_="all")(Clip(frames=frames, key=""), rng)
    batch = {name: value[None] for name, value in sample.items()}
    return instantiate(cfg.method, _convert_="all"), batch, None


def form(
    name: str, made: Callable[[], tuple[pl.LightningModule, Batch, Call | None]], device: str
) -> Make:
    def make() -> Call:
        method, batch, load = made()
        if name == "loading a batch":
            assert load is not None
            return load
        method = outside_of_trainer(method.to(device))
        batch = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, batch)
        trained = [p for p in method.parameters() if p.requires_grad]
        optimizer = method.make_optimizer(trained)  # type: ignore[operator]

        def step() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = method.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            method.on_after_backward()
            optimizer.step()

        if name == "step":
            return step
        calls = recorded(method, step)

        def networks() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                replay(calls)
            method.zero_grad()

        return networks

    return make


def comparisons(device: str) -> list[Comparison]:
    cases: dict[str, Any] = {name: partial(toy, name) for name in TOY}
    cases["paper/cmp_alexnet"] = partial(published_cmp, "AlexNet")
    cases["paper/mosi_r2d3d_hmdb"] = published_mosi
    names = ["networks", "step"]
    return [
        Comparison(
            f"`experiment={name}`",
            {
                key: form(key, made, device)
                for key in [*names, *(["loading a batch"] if name in TOY else [])]
            },
            repeats=7 if device == "cpu" else 20,
            agree=None,
            unit="step",
        )
        for name, made in cases.items()
    ]


if __name__ == "__main__":
    run(comparisons)

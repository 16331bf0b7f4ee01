"""Training steps, against nothing but their networks on the same input.

    python benchmarks/steps.py [--device cuda] [--only cmp]

A step is forward, backward and optimiser. "Networks" repeats the calls of the encoder, decoder and
heads that the step made, with its inputs, and goes back through each from ones, where the step had
gradients. "Loading a batch" is what a worker does meanwhile. "Published form" is a step with the
same loss as the authors' code computes it: CMP enlarges all scores to full resolution before the
softmax, CorrFlow encodes both frames of every pair and unfolds windows. On a GPU with bf16.

`--only paper/` also measures published recipes that take too long for `make bench`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from bare import outside_of_trainer, recorded, replay
from measuring import Call, Comparison, Make, run
from recipes import CMP_SIZES, Recipe, cmp, corrflow, mosi, toy
from torch import Tensor
from torch.utils._pytree import tree_map

TOY = (
    "cmp", "corrflow", "mosi", "mast", "crw", "cycletime", "dense_ulearn", "cmd", "rho_moco",
    "rho_byol", "rho_simclr", "rho_swav", "dsm", "wmse",
)  # fmt: skip
"""Experiments: one of each method."""
NETWORKS, STEP, LOADING, PUBLISHED = "networks", "step", "loading a batch", "published form"


def form(name: str, made: Callable[[], Recipe], device: str) -> Make:
    def make() -> Call:
        recipe = made()
        if name == LOADING:
            assert recipe.load is not None
            return recipe.load
        method = outside_of_trainer(recipe.method.to(device))
        batch = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, recipe.batch)
        trained = [p for p in method.parameters() if p.requires_grad]
        optimizer = method.make_optimizer(trained)  # type: ignore[operator]
        loss_of = recipe.published if name == PUBLISHED else recipe.loss
        assert loss_of is not None

        def step() -> float | None:
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = loss_of(method, batch)
            optimizer.zero_grad()
            loss.backward()
            method.on_after_backward()
            optimizer.step()
            # the number waits for the device: only where it is compared
            return float(loss.detach()) if recipe.published else None

        if name != NETWORKS:
            return step
        calls = recorded(method, step)

        def networks() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                replay(calls)
            method.zero_grad()

        return networks

    return make


def steps(
    title: str,
    made: Callable[[], Recipe],
    more: tuple[str, ...],
    device: str,
    extra: bool = False,
) -> Comparison:
    forms = {name: form(name, made, device) for name in (NETWORKS, STEP, *more)}
    return Comparison(
        title,
        forms,
        repeats=9 if device == "cpu" else 20,
        agree=1e-3 if device == "cpu" else 2e-2,
        unit="step",
        extra=extra,
    )


def comparisons(device: str) -> list[Comparison]:
    made = [steps(f"`experiment={name}`", partial(toy, name), (LOADING,), device) for name in TOY]
    for name in CMP_SIZES:
        recipe = partial(cmp, name, device)
        made.append(
            steps(f"`experiment={name}`", recipe, (PUBLISHED,), device, name != "paper/cmp_alexnet")
        )
    for size, count in ((64, 1), (256, 2)):
        title = f"`experiment=paper/corrflow_oxuva`, batch {count}, {size} × {size}"
        recipe = partial(corrflow, size, count)
        made.append(steps(title, recipe, (PUBLISHED,), device, extra=size == 256))
    for network in ("r2d3d", "r2p1d"):
        name = f"paper/mosi_{network}_hmdb"
        recipe = partial(mosi, name, device)
        made.append(steps(f"`experiment={name}`", recipe, (), device, extra=network == "r2p1d"))
    return made


if __name__ == "__main__":
    run(comparisons)

"""A training step of CorrFlow: each frame encoded once and tiles, against pairs and unfolding.

    python benchmarks/corrflow_step.py

The published ResNet-18, 3 frames, batch 2. Both compute the same loss. "Pairs" is the plain reading
of the paper's sums, as in the authors' code: every copy encodes both its frames, unfolds its
windows and enlarges its result to pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from measuring import Call, Comparison, Make, run
from torch import Tensor

from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.settings.compose import compose

SIZE = 128


def published_objective(model: CorrFlow, frames: Tensor, classes: Tensor) -> Tensor:
    """The losses copy by copy; the second frame copies true colours."""
    shares = F.one_hot(classes, len(model.colors)).movedim(-1, 2).float()

    def copy(source: int, target: int, pixels: Tensor) -> Tensor:
        cells = F.interpolate(pixels, scale_factor=0.25, mode="bilinear")
        features = [model(frames[:, t]) for t in (target, source)]
        copied = restricted_attention(*features, cells, model.radius, backend="unfold")
        return F.interpolate(copied, scale_factor=4, mode="bilinear")

    def loss(pixels: Tensor, t: int) -> Tensor:
        return -(pixels.gather(1, classes[:, t, None]) + 1e-8).log().mean()

    short = loss(copy(0, 1, shares[:, 0]), 1) + loss(copy(1, 2, shares[:, 1]), 2)
    there = copy(0, 1, shares[:, 0])
    long = loss(copy(1, 0, there), 0)
    far = copy(1, 2, copy(0, 1, shares[:, 0]))
    long = long + loss(copy(1, 0, copy(2, 1, far)), 0)
    return short + model.cycle_weight * long


def step(form: str) -> Make:
    def make() -> Call:
        cfg = compose(["experiment=paper/corrflow_oxuva", "data.root=unused"])
        model = instantiate(cfg.method, _convert_="all").train()
        optimizer = model.make_optimizer(model.parameters())
        coarse = torch.rand(6, 3, SIZE // 8, SIZE // 8)
        frames = F.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1).unflatten(0, (2, 3))
        classes = model.classify((255 * frames).byte())

        def call() -> float:
            if form == "pairs":
                loss = published_objective(model, frames, classes)
            else:
                short, long = model.objective(model.encode(frames), classes, [True])
                loss = short + model.cycle_weight * long
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss)

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    forms = {"pairs, unfold": step("pairs"), "each frame once, tiles": step("once")}
    return [Comparison(f"T = 3, batch 2, {SIZE} × {SIZE}", forms, repeats=2, unit="step")]


if __name__ == "__main__":
    run(comparisons)

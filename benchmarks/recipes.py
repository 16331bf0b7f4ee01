"""Methods as their recipes make them, with a batch: what steps are measured on.

Toy recipes bring batches of their own loaders. The data of published ones are not at hand: their
batches are random numbers of the published size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from measuring import Call
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.library.build import build
from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.settings.compose import compose

Batch = dict[str, Any]
Loss = Callable[[pl.LightningModule, Batch], Tensor]
CMP_SIZES = {  # side, batch on a CPU, batch on a GPU, points
    "paper/cmp_alexnet": (384, 2, 12, 30),
    "paper/cmp_resnet50": (320, 1, 10, 8),
    "paper/cmp_resnet50_annotation": (384, 1, 8, 15),
}


@dataclass(frozen=True)
class Recipe:
    """A method and what it is given.

    Attributes:
        method: not yet moved to a device.
        batch: the same.
        load: makes another batch, where there is a loader.
        loss: of a step.
        published: the same loss as the published code computes it, where that differs.
    """

    method: pl.LightningModule
    batch: Batch
    load: Call | None = None
    loss: Loss = lambda method, batch: method.training_step(batch, 0)  # type: ignore[assignment,return-value]
    published: Loss | None = None


def toy(experiment: str) -> Recipe:
    """A recipe of the toy world, with a batch of its loader."""
    method, data = build(f"experiment={experiment}", "data.num_workers=0", "data.val_videos=1")
    data.setup("fit")
    batches = iter(data.train_dataloader())

    def load() -> None:
        next(batches)

    return Recipe(method, next(batches), load)


def method_of(experiment: str, *overrides: str) -> pl.LightningModule:
    method: pl.LightningModule = instantiate(
        compose([f"experiment={experiment}", *overrides]).method, _convert_="all"
    )
    return method


def cmp(experiment: str, device: str) -> Recipe:
    """CMP; the published code enlarges all scores to full resolution before the softmax."""
    size, on_cpu, on_gpu, points = CMP_SIZES[experiment]
    count = on_gpu if device == "cuda" else on_cpu
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.randint(0, 256, (count, 3, size, size), generator=generator).byte(),
        "flow": torch.randn(count, 2, size, size, generator=generator) * 5,
        "valid": torch.ones(count, size, size, dtype=torch.bool),
        "points": torch.rand(count, points, 2, generator=generator) * (size - 1),
        "vectors": torch.randn(count, points, 2, generator=generator) * 5,
        "point_mask": torch.ones(count, points, dtype=torch.bool),
    }

    def published(method: pl.LightningModule, batch: Batch) -> Tensor:
        bins = method.motion_code
        assert isinstance(bins, FlowBins)
        method.motion_code = DirectBins(bins.num_bins, bins.max_flow, bins.spacing)
        return method.training_step(batch, 0)  # type: ignore[return-value]

    return Recipe(method_of(experiment), batch, published=published)


class DirectBins(FlowBins):
    """The published form of the loss."""

    def loss(self, scores: Tensor, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        scores = F.interpolate(scores, flow.shape[-2:], mode="bilinear", align_corners=True)
        labels = self.encode(flow)
        x, y = (F.cross_entropy(s, labels[:, i]) for i, s in enumerate(scores.chunk(2, 1)))
        return x + y


def corrflow(size: int, count: int) -> Recipe:
    """CorrFlow on OxUvA, three frames; the second one copies true colours."""
    coarse = torch.rand(3 * count, 3, size // 8, size // 8)
    frames = F.interpolate(coarse, size, mode="bicubic").clamp(0, 1).unflatten(0, (count, 3))
    method = method_of("paper/corrflow_oxuva", "data.root=.")
    assert isinstance(method, CorrFlow)
    batch = {"frames": frames, "classes": method.classify((255 * frames).byte())}

    def loss(method: Any, batch: Batch) -> Tensor:
        short, long = method.objective(method.encode(batch["frames"]), batch["classes"], [True])
        return short + method.cycle_weight * long  # type: ignore[no-any-return]

    return Recipe(method, batch, loss=loss, published=corrflow_in_pairs)


def corrflow_in_pairs(model: Any, batch: Batch) -> Tensor:
    """The paper's sums read plainly, as in the authors' code: every copy encodes both its frames,
    unfolds its windows and enlarges its result to pixels."""
    frames, classes = batch["frames"], batch["classes"]
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
    return short + model.cycle_weight * long  # type: ignore[no-any-return]


def mosi(experiment: str, device: str) -> Recipe:
    """MoSI, the nine clips of an image (on a GPU of four)."""
    cfg = compose([f"experiment={experiment}", "data.root=.", "view.color=clip"])
    rng = np.random.default_rng(0)
    view = instantiate(cfg.view, _convert_="all")
    images = rng.integers(0, 256, (4 if device == "cuda" else 1, 1, 3, 320, 320), np.uint8)
    samples = [view(Clip(frames=image, key=""), rng) for image in images]
    batch = {name: torch.stack([s[name] for s in samples]) for name in samples[0]}
    return Recipe(instantiate(cfg.method, _convert_="all"), batch)

"""A training step of CMP: the published networks with our loss and with the published one.

    python benchmarks/train_step.py [--device cuda]

Random input; guidance is given, so that data loading does not count. "Direct" is the same step with
the scores of the whole batch enlarged to full resolution before the softmax, as published; with
bf16 on a GPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from measuring import Call, Comparison, Make, run
from torch import Tensor

from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.settings.compose import compose

SETTINGS = {  # name: experiment, side, batch on cpu, batch on cuda, points
    "small default": ("cmp", 128, 4, 64, 36),
    "AlexNet": ("paper/cmp_alexnet", 384, 2, 12, 30),
    "ResNet-50": ("paper/cmp_resnet50", 320, 1, 10, 8),
    "ResNet-50 skip": ("paper/cmp_resnet50_annotation", 384, 1, 8, 15),
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


def step(name: str, form: str, device: str) -> Make:
    experiment, size, on_cpu, on_cuda, points = SETTINGS[name]

    def make() -> Call:
        cuda = device == "cuda"
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

        def call() -> float:
            with torch.autocast(device, torch.bfloat16, enabled=cuda):
                loss = method.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss)

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    return [
        Comparison(
            f"{name}, {size} × {size}, batch {on_cuda if device == 'cuda' else on_cpu}",
            {form: step(name, form, device) for form in ("direct", "ours")},
            repeats=2 if device == "cpu" else 20,
            agree=1e-4 if device == "cpu" else 1e-2,
            unit="step",
        )
        for name, (_, size, on_cpu, on_cuda, _) in SETTINGS.items()
    ]


if __name__ == "__main__":
    run(comparisons)

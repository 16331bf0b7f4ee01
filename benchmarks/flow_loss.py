"""CMP's full-resolution loss: ours against the direct form, forward and backward.

    python benchmarks/flow_loss.py [--device cuda]

"Direct" enlarges the scores of all pixels before the softmax, as published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from measuring import Call, Comparison, Make, run
from torch import Tensor

from selfsup_motion.ops.flow import FlowBins

SIZE = 384
CASES = {  # name: stride, batch
    "stride 32 (AlexNet), batch 2": (32, 2),
    "stride 8 (ResNet), batch 2": (8, 2),
    "stride 2 (skip decoder), batch 2": (2, 2),
    "stride 2 (skip decoder), batch 1": (2, 1),
}


def direct(bins: FlowBins, scores: Tensor, flow: Tensor) -> Tensor:
    full = F.interpolate(scores, flow.shape[-2:], mode="bilinear", align_corners=True)
    labels = bins.encode(flow)
    x, y = (F.cross_entropy(s, labels[:, i]) for i, s in enumerate(full.chunk(2, 1)))
    return x + y


def tiled(bins: FlowBins, scores: Tensor, flow: Tensor) -> Tensor:
    return bins.loss(scores, flow)


def loss(form: str, stride: int, batch: int, device: str) -> Make:
    def make() -> Call:
        function = {"direct": direct, "tiles": tiled}[form]
        bins = FlowBins(99, 50.0)
        generator = torch.Generator().manual_seed(0)
        shape = (batch, bins.channels, SIZE // stride, SIZE // stride)
        scores = torch.randn(shape, generator=generator).to(device).requires_grad_()
        flow = (10 * torch.randn(batch, 2, SIZE, SIZE, generator=generator)).to(device)
        # kernels and libraries are loaded before memory is measured
        small = torch.zeros(1, bins.channels, 2, 2, device=device, requires_grad=True)
        function(bins, small, torch.zeros(1, 2, 8, 8, device=device)).backward()

        def call() -> float:
            scores.grad = None
            value = function(bins, scores, flow)
            value.backward()  # type: ignore[no-untyped-call]
            assert scores.grad is not None
            return value.item() + scores.grad.norm().item()

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    return [
        Comparison(
            f"{name}, {SIZE} × {SIZE}, 2 × 99 bins",
            {form: loss(form, *case, device) for form in ("direct", "tiles")},
        )
        for name, case in CASES.items()
    ]


if __name__ == "__main__":
    run(comparisons)

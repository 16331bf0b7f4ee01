"""What the machine can do at best: matrix products and copies.

python benchmarks/ceilings.py [--device cuda]
"""

from __future__ import annotations

import torch
from measuring import Call, Comparison, Make, run

SIDE = 1024
COPIED = 256 * 2**20
CALLS = 10


def product(device: str, dtype: torch.dtype) -> Make:
    def make() -> Call:
        a = torch.randn(SIDE, SIDE, device=device, dtype=dtype)

        def call() -> None:
            for _ in range(CALLS):
                a @ a

        return call

    return make


def copy(device: str) -> Make:
    def make() -> Call:
        source = torch.zeros(COPIED // 4, device=device)
        target = torch.empty_like(source)

        def call() -> None:
            target.copy_(source)

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    low = "bfloat16"
    return [
        Comparison(
            "2.15 GFLOP: a product of 1024 × 1024 matrices",
            {
                "float32": product(device, torch.float32),
                low: product(device, torch.bfloat16),
            },
            unit="product",
            count=CALLS,
        ),
        Comparison("copying 256 MiB", {"copy": copy(device)}),
    ]


if __name__ == "__main__":
    run(comparisons)

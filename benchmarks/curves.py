"""How cost grows: with resolution, radius, frames, points, objects and the length of clips.

    python benchmarks/curves.py

Every curve begins with its smallest case, the baseline. `bench.py` draws them on logarithmic axes:
a straight line of slope 1 is a cost that grows in proportion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from measuring import Call, Comparison, Make, run
from propagation import PATCHES, follow

import selfsup_motion as ssm
from selfsup_motion.ops.attention import restricted_attention


def attention(side: int = 64, radius: int = 6, frames: int = 1) -> Make:
    """Forward; 64 channels compared, 16 copied."""

    def make() -> Call:
        query = torch.randn(1, 64, side, side)
        key, value = torch.randn(1, frames, 64, side, side), torch.rand(1, frames, 16, side, side)

        def call() -> None:
            restricted_attention(query, key, value, radius, scale=0.1)

        return call

    return make


def cmp_answer(side: int = 256, points: int = 8) -> Make:
    """The shipped CMP, a photo and its arrows."""

    def make() -> Call:
        network = ssm.load_method("cmp")
        image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
        places, vectors = torch.rand(points, 2) * (side - 1), torch.randn(points, 2) * 5

        def call() -> None:
            network.propagate(image, places, vectors, short_side=side)

        return call

    return make


def clip_network(length: int) -> Make:
    """Forward and backward of `r3d8` on two clips of 64 × 64."""

    def make() -> Call:
        encoder = ssm.encoder("r3d8")
        clips = torch.rand(2, 3, length, 64, 64)

        def call() -> None:
            encoder(clips).square().mean().backward()

        return call

    return make


def curve(name: str, values: Sequence[int], form: Callable[[int], Make]) -> Comparison:
    return Comparison(name, {str(value): form(value) for value in values}, repeats=5)


def comparisons(device: str) -> list[Comparison]:
    return [
        curve("attention, by side in cells", (16, 32, 64, 128), lambda n: attention(side=n)),
        curve("attention, by radius", (2, 4, 8, 16), lambda n: attention(radius=n)),
        curve("attention, by frames copied from", (1, 2, 4, 8), lambda n: attention(frames=n)),
        curve("CMP, by side in pixels", (128, 256, 512, 1024), lambda n: cmp_answer(side=n)),
        curve("CMP, by points", (1, 10, 100, 1000), lambda n: cmp_answer(points=n)),
        curve("r3d8, by frames of a clip", (4, 8, 16, 32), clip_network),
        curve(
            "a frame of 480p, patches, by objects",
            (1, 2, 5, 10),
            lambda n: follow(PATCHES, "patches", "cpu", n),
        ),
    ]


if __name__ == "__main__":
    run(comparisons)

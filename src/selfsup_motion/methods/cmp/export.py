"""A trained CMP as a program that runs without this package (`torch.export`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.methods.cmp.propagate import working_size

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_EXAMPLE_MAPS, _EXAMPLE_POINTS = 3, 5
_MOST = 4096


def export_flow(method: CMPNetwork, size: tuple[int, int]) -> ExportedProgram:
    """The network with one image and any number of sets of guidance as its inputs.

    The program takes `image`, (1, 3, H, W) float32 in [0, 1], RGB, and of N sets of guidance with
    up to K points each `points` and `vectors`, (N, K, 2) float32 in pixels, and `point_mask`,
    (N, K) bool, False where a row is padding. It gives (N, 2, H, W) float32 flow in pixels, as
    `CMP.propagate` does. N and K are free, between 1 and 4096.

    Args:
        method: in evaluation mode, with weights of 32 bits.
        size: (H, W): both multiples of the encoder's stride, at least 8 times as large, and one no
            longer than 4 times the other.

    Raises:
        ValueError: another size, or a method that is being trained.
    """
    from torch.export import Dim, export  # slow to import, and seldom needed

    fitting = working_size(size, None, int(method.encoder.stride))  # type: ignore[arg-type]
    if fitting != tuple(size):
        raise ValueError(f"size {size[0]}x{size[1]} does not fit the network, {fitting} does")
    if any(part.training for part in method.modules()):
        raise ValueError("only a method in evaluation mode is exported: call method.eval()")
    device = next(method.parameters()).device
    rows = _EXAMPLE_MAPS, _EXAMPLE_POINTS
    example = (
        torch.rand(1, 3, *size, device=device),
        torch.rand(*rows, 2, device=device) * min(size),
        torch.ones(*rows, 2, device=device),
        torch.ones(*rows, dtype=torch.bool, device=device),
    )
    free = {0: Dim("maps", max=_MOST), 1: Dim("points", max=_MOST)}
    shapes = {"image": None, "points": free, "vectors": free, "point_mask": free}
    with torch.no_grad():
        return export(_Flow(method).eval(), example, dynamic_shapes=shapes)


class _Flow(nn.Module):
    """See `export_flow`."""

    def __init__(self, method: CMPNetwork) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor, points: Tensor, vectors: Tensor, point_mask: Tensor) -> Tensor:
        size = image.shape[-2], image.shape[-1]
        features = self.method.prepare(self.method.features(image * 255))
        maps = points.shape[0]
        features = {name: value.expand(maps, *value.shape[1:]) for name, value in features.items()}
        # another unused row: how many there are then never decides what is computed
        points, vectors = (F.pad(t, (0, 0, 0, 1)) for t in (points, vectors))
        scores = self.method.spread(features, points, vectors, F.pad(point_mask, (0, 1)), size)
        return self.method.decode(scores[0], size)

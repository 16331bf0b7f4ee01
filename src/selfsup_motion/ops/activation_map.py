"""Where in a clip the evidence for an answer is: class activation maps.

Behind an average over time and space there is a single linear layer, so the gradient of a score
with respect to the features is that layer's row, the same at every place. Grad-CAM (Selvaraju et
al. 2017) and CAM (Zhou et al. 2016) are then one map, and no backward pass is needed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def motion_map(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of channels, its negative part cut off.

    Args:
        features: (N, C, t, h, w), the last ones before the average.
        weights: (N, C), the linear layer's row of the answer asked about.

    Returns:
        (N, t, h, w) float32, at least 0.
    """
    return torch.einsum("ncthw,nc->nthw", features.float(), weights.float()).relu()


def located(maps: Tensor, box: Tensor, size: int) -> dict[str, Tensor]:
    """How much of each map, enlarged to the frame, is in a rectangle.

    Args:
        maps: (N, h, w), at least 0.
        box: (N, 4) x, y, width and height in pixels.
        size: side of the frame in pixels.

    Returns:
        `energy` (N,): share of the map's sum inside; `area` (N,): share of the frame; `hits` (N,):
        1 where the map's highest place is inside. A map that is 0 everywhere has no energy and
        hits nothing.
    """
    large = F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    place = torch.arange(size, device=maps.device)
    first, last = box[:, :2, None], box[:, :2, None] + box[:, 2:, None]
    x, y = ((first <= place) & (place < last)).unbind(1)
    inside = y[:, :, None] & x[:, None, :]
    total = large.sum((1, 2))
    energy = (large * inside).sum((1, 2)) / total.clamp(min=1e-12)
    peak = large.flatten(1).argmax(1, keepdim=True)
    hits = inside.flatten(1).gather(1, peak)[:, 0] & (total > 0)
    area = inside.float().mean((1, 2))
    return {"energy": energy, "area": area, "hits": hits.float()}

"""How well objects are followed from frame to frame, by an encoder and by doing without one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup_motion.models.color_encoder import ColorPatches, LabColor
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.label_cells import cells_to_pixels, labels_to_cells

_COLOR_TEMPERATURE = 2.5e-4
"""Of squared distances between Lab colours in units of 100: those of 2.2 are within one e-fold."""


def copy_masks(
    features: Tensor, masks: Tensor, radius: int | None, stride: int, *, euclidean: bool = False
) -> Tensor:
    """Carry the masks of a first frame through a clip (Lai & Xie 2019, section 3.4).

    Each frame copies from the one before; its labels are made hard before the next.

    Args:
        features: (B, T, C, h, w).
        masks: (B, H, W) int64 ids of the first frame, 0 for the background.
        radius: of the window in cells; None: everywhere.
        stride: pixels per cell.
        euclidean: compare by the distance of colours instead of by dot products.

    Returns:
        (B, T, H, W) int64; the first frame as given.
    """
    queries = keys = features
    if euclidean:
        # -|q - k|² is q · k times 2, less |k|², up to what all keys share
        squares = features.square().sum(2, keepdim=True)
        queries = torch.cat([2 * features, -torch.ones_like(squares)], 2) / _COLOR_TEMPERATURE
        keys = torch.cat([features, squares], 2)
    classes = int(masks.max()) + 1
    followed = [masks]
    for t in range(1, features.shape[1]):
        cells = labels_to_cells(followed[-1], classes, stride)
        copied = restricted_attention(queries[:, t], keys[:, t - 1], cells, radius)
        followed.append(cells_to_pixels(copied, stride).argmax(1))
    return torch.stack(followed, 1)


def region_similarities(followed: Tensor, truth: Tensor) -> Tensor:
    """J of every object of the first frames: the mean over the later frames.

    Args:
        followed: (B, T, H, W) int64.
        truth: (B, T, H, W) int64.

    Returns:
        (number of objects,) float32: intersection over union, 1 where both are empty.
    """
    scores = []
    for predicted, true in zip(followed, truth, strict=True):
        for number in true[0].unique().tolist():
            if number == 0:
                continue
            ours, theirs = (ids[1:].flatten(1) == number for ids in (predicted, true))
            union = (ours | theirs).sum(1)
            overlap = (ours & theirs).sum(1)
            scores.append(torch.where(union > 0, overlap / union.clamp(min=1), 1.0).mean())
    return torch.stack(scores) if scores else truth.new_zeros(0, dtype=torch.float32)


class Unlearned(nn.Module):
    """The same with encoders without weights, and with no motion at all.

    Args:
        stride: pixels per cell.
        radius: of the window in cells.
    """

    def __init__(self, stride: int, radius: int | None) -> None:
        super().__init__()
        self.stride, self.radius = stride, radius
        self.encoders = nn.ModuleDict(
            {"color": LabColor(stride), "patches": ColorPatches(stride, patch=3 * stride)}
        )

    def forward(self, frames: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Follow the first masks.

        Args:
            frames: (B, T, 3, H, W) float in [0, 1].
            masks: (B, H, W) int64.

        Returns:
            (B, T, H, W) int64 of "identity", "color" and "patches".
        """
        followed = {"identity": masks[:, None].expand(-1, frames.shape[1], -1, -1)}
        for name, encoder in self.encoders.items():
            features = encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            followed[name] = copy_masks(features, masks, self.radius, self.stride, euclidean=True)
        return followed

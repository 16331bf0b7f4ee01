"""How well objects are followed from frame to frame, by an encoder and by doing without one."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.models.color_encoder import ColorPatches, LabColor
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.label_cells import cells_to_pixels, labels_to_cells

BASELINES = {
    "identity": "nothing moves",
    "color": "raw Lab colour",
    "patches": "patches of Lab colours",
}
"""What a network is measured against: the same frames and masks, no learning."""

_COLOR_TEMPERATURE = 2.5e-4
"""Of squared distances between Lab colours in units of 100: those of 2.2 are within one e-fold."""


def copy_masks(
    features: Tensor,
    masks: Tensor,
    radius: int | None,
    stride: int,
    *,
    temperature: float = 1.0,
    euclidean: bool = False,
) -> Tensor:
    """Carry the masks of a first frame through a clip (Lai & Xie 2019, section 3.4).

    Each frame copies from the one before; its labels are made hard before the next.

    Args:
        features: (B, T, C, h, w).
        masks: (B, H, W) int64 ids of the first frame, 0 for the background.
        radius: of the window in cells; None: everywhere.
        stride: pixels per cell.
        temperature: dot products are divided by it.
        euclidean: compare by the distance of colours instead of by dot products.

    Returns:
        (B, T, H, W) int64; the first frame as given.
    """
    queries, keys = features / temperature, features
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


class FollowedObjects(nn.Module):
    """J of the objects of labelled validation clips, for a network and for `BASELINES`.

    A method calls `restart` in `setup`, `update` with each labelled batch and `log` at the end of
    a validation. The baselines do not learn: they are computed in the first validation only.

    Args:
        stride: of the network's features, pixels per cell.
        radius: of the window that labels are copied from, in cells; None: everywhere.
        temperature: of the network's dot products.
    """

    def __init__(self, stride: int, radius: int | None, temperature: float = 1.0) -> None:
        super().__init__()
        self.stride, self.radius, self.temperature = stride, radius, temperature
        self.unlearned = Unlearned(stride, radius)
        self.similarity = Means("network", *BASELINES)
        self.restart()

    def restart(self) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self._baselines: dict[str, float] = {}
        self._labelled = False

    def follow(self, features: Tensor, masks: Tensor) -> Tensor:
        """Carry first masks (B, H, W) through a clip's features (B, T, C, h, w): (B, T, H, W)."""
        return copy_masks(features, masks, self.radius, self.stride, temperature=self.temperature)

    def update(self, images: Tensor, features: Tensor, masks: Tensor) -> None:
        """Follow the objects of a batch.

        Args:
            images: (B, T, 3, H, W) float in [0, 1].
            features: (B, T, C, h, w) of the network.
            masks: (B, T, H, W) int64 true ids.
        """
        followed = {"network": self.follow(features, masks[:, 0])}
        if not self._baselines:
            followed |= self.unlearned(images, masks[:, 0])
        for name, ids in followed.items():
            similarities = region_similarities(ids, masks)
            self._labelled |= len(similarities) > 0
            self.similarity[name].update(similarities)

    def log(self, method: pl.LightningModule) -> None:
        """Log `val/j` and `val/j_<baseline>`, reduced over clips and ranks, if there were masks."""
        if method.trainer.strategy.reduce_boolean_decision(self._labelled, all=False):
            if not self._baselines:
                means = {name: self.similarity[name].compute() for name in BASELINES}
                self._baselines = {f"val/j_{name}": float(mean) for name, mean in means.items()}
            method.log("val/j", self.similarity["network"].compute(), prog_bar=True)
            method.log_dict(self._baselines)
        self.similarity.reset()
        if is_partial(method.trainer):
            self._baselines = {}

    @staticmethod
    def table(metrics: Mapping[str, float], network: str) -> list[list[str]]:
        """Rows (what, J) of a closing table: baselines, the untrained network, the network."""
        keys = {f"val/j_{name}": title for name, title in BASELINES.items()}
        keys |= {"untrained/j": "untrained network", "val/j": network}
        return [[title, f"{metrics[key]:.3f}"] for key, title in keys.items() if key in metrics]

"""How alike an encoder finds the views of one video, and what its neighbours have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.rank_weight import gathered


class Agreement(nn.Module):
    """Collects features of the views of validation clips and logs what they say.

    - `val/retrieval`: share of views whose nearest neighbour among all other views of the
      validation is of the same video.
    - `val/alignment`: mean squared distance of the views of a video, and `val/uniformity`: log of
      the mean of exp(−2 d²) over pairs of videos, both of unit features (Wang and Isola, ICML
      2020). Views that are far apart are not aligned; 0 would be the best. All features alike give
      a uniformity of 0; the lower, the more evenly they are spread.
    - `val/knn`: where clips have the label `action`, share of videos that the majority of their
      nearest neighbours among the other validation videos names rightly.
    """

    def __init__(self, neighbours: int) -> None:
        """Make it empty.

        Args:
            neighbours: k of `val/knn`.

        Raises:
            UserError: k below 1.
        """
        super().__init__()
        if neighbours < 1:
            raise UserError(f"method.val_neighbours must be at least 1, got {neighbours}.")
        self.neighbours = neighbours
        self._features: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.int64]] = []

    def update(self, features: Tensor, actions: Tensor | None) -> None:
        """Take over (B, V, C) features and the (B,) actions, if known."""
        self._features += list(F.normalize(features.float(), dim=2).cpu().numpy())
        if actions is not None:
            self._actions += list(actions.cpu().numpy())

    def log(self, method: pl.LightningModule) -> None:
        """Log the metrics over all ranks, and start again."""
        features, actions = gathered(self._features), gathered(self._actions)
        self._features, self._actions = [], []
        if len(features) < 2:  # nothing to compare with
            return
        known = torch.tensor(np.array(actions)) if len(actions) == len(features) else None
        metrics = agreement(torch.from_numpy(np.stack(features)), known, self.neighbours)
        for name, value in metrics.items():
            method.log(f"val/{name}", value, prog_bar=name == "retrieval")

    @staticmethod
    def table(metrics: Mapping[str, float], network: str) -> tuple[list[str], list[list[str]]]:
        """A closing table: the untrained network and the network beside each other."""
        names = {"retrieval": "other view found", "knn": "action named by neighbours"}
        columns, rows = ["network"], [["untrained"], [network]]
        for name, title in names.items():
            if f"val/{name}" not in metrics:
                continue
            columns.append(title)
            for row, key in zip(rows, (f"untrained/{name}", f"val/{name}"), strict=True):
                row.append(f"{metrics[key]:.1%}" if key in metrics else "")
        return columns, rows if any(rows[0][1:]) else rows[1:]


def agreement(features: Tensor, actions: Tensor | None, neighbours: int) -> dict[str, float]:
    """The metrics of `Agreement`.

    Args:
        features: (N, V, C) unit features of V views of N videos.
        actions: (N,), if known.
        neighbours: k.
    """
    count, views = features.shape[:2]
    flat = features.flatten(0, 1)
    similarity = flat @ flat.T
    video = torch.arange(count).repeat_interleave(views)
    found = {}
    if views > 1:
        nearest = similarity.fill_diagonal_(-torch.inf).argmax(1)
        found["retrieval"] = (video[nearest] == video).float().mean().item()
        same = (video[:, None] == video) & ~torch.eye(len(video), dtype=torch.bool)
        found["alignment"] = (2 - 2 * similarity[same]).mean().item()
    apart = video[:, None] != video
    found["uniformity"] = (4 * similarity[apart] - 4).exp().mean().log().item()
    if actions is not None:
        means = F.normalize(features.mean(1), dim=1)
        close = (means @ means.T).fill_diagonal_(-torch.inf)
        order = close.argsort(dim=1, descending=True, stable=True)[:, :neighbours]
        votes = F.one_hot(actions[order], int(actions.max()) + 1).sum(1)
        found["knn"] = (votes.argmax(1) == actions).float().mean().item()
    return found

"""Points found by comparing features with those of the query: the read-out of frozen features.

There is no official one. Position as TAP-Net (Doersch et al. 2022, section 3.3): a softmax over all
cells of a frame, then its mean near the best cell. A point is visible if, matched back, it returns
to its query.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.models.color_encoder import ColorPatches, LabColor, NoMotion
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Similarity = Literal["cosine", "euclidean"]

_FRAMES_AT_ONCE = 8
_COSINE, _COLOR, _PATCHES = 0.05, 2.5e-4, 1e-3
"""Temperatures; for colours, those of propagator=color and propagator=patches."""


class FeatureMatcher:
    """Finds points in each frame by itself: no motion model, no memory.

    Args:
        similarity: "cosine", or "euclidean": minus half the squared distance; "auto": the second
            for encoders of colours.
        temperature: similarities are divided by it before the softmax; "auto": 0.05 for "cosine",
            2.5e-4 for "euclidean", and 1e-3 for patches of colours.
        radius: cells nearer than this to the best one have a share in the position.
        returns_within: a point is visible if it returns to its query within so many cells.
    """

    def __init__(
        self,
        *,
        similarity: Similarity | Literal["auto"] = "auto",
        temperature: float | Literal["auto"] = "auto",
        radius: float = 5.0,
        returns_within: float = 2.0,
    ) -> None:
        problems = [
            (temperature != "auto" and not temperature > 0, "temperature must be positive"),
            (not radius > 0, "radius must be positive"),
            (returns_within < 0, "returns_within must not be negative"),
        ]
        for wrong, text in problems:
            if wrong:
                raise ValueError(text)
        self._similarity, self._temperature = similarity, temperature
        self.radius, self.returns_within = radius, returns_within

    def settings(self, encoder: FrameEncoder) -> dict[str, Any]:
        """What an encoder's features are compared with."""
        if isinstance(encoder.encoder, NoMotion):
            return {"name": "none"}
        similarity, temperature = self._chosen(encoder)
        return {
            "name": "matching", "similarity": similarity, "temperature": temperature,
            "radius": self.radius, "returns_within": self.returns_within,
        }  # fmt: skip

    @torch.inference_mode()
    def track(
        self, encoder: FrameEncoder, frames: NDArray[np.uint8], queries: Floats
    ) -> tuple[Floats, Bools]:
        """Find points in all frames, before and after those that they are asked in.

        Each query is answered independently of the others.

        Args:
            encoder: makes the features; of `NoMotion`, points stay where they are.
            frames: (T, 3, H, W) uint8.
            queries: (Q, 3) t, y, x, raster coordinates in pixels.

        Returns:
            (Q, T, 2) x, y in the same coordinates, and (Q, T) whether visible. At the frame of the
            query they are those of the query.
        """
        count, length = len(queries), len(frames)
        times, start = queries[:, 0].round().astype(np.int64), queries[:, :0:-1]
        points = np.repeat(start[:, None], length, 1)
        visible = np.ones((count, length), bool)
        if isinstance(encoder.encoder, NoMotion) or not count:
            return points, visible
        similarity, temperature = self._chosen(encoder)
        maps = _features(encoder, frames, similarity)
        home = torch.from_numpy(start / encoder.stride).float().to(maps.device)
        asked = maps.new_empty(count, maps.shape[1])
        for time in np.unique(times):
            asked[times == time] = sample(maps[time], home[times == time], similarity)

        def find(descriptors: Tensor, features: Tensor) -> Tensor:
            heat = softmax(scores(descriptors, features, similarity) / temperature)
            return soft_argmax(heat, self.radius)

        limit = torch.tensor(frames.shape[:1:-1], device=maps.device) / encoder.stride
        for time, features in enumerate(maps):
            found = find(asked, features).minimum(limit)
            back = torch.empty_like(found)
            for origin in np.unique(times):
                group = torch.from_numpy(times == origin).to(maps.device)
                descriptors = sample(features, found[group], similarity)
                back[group] = find(descriptors, maps[origin])
            returns = (back - home).norm(dim=1) <= self.returns_within
            points[:, time] = found.cpu().numpy() * encoder.stride
            visible[:, time] = returns.cpu().numpy()
        rows = np.arange(count)
        points[rows, times], visible[rows, times] = start, True
        return points, visible

    def _chosen(self, encoder: FrameEncoder) -> tuple[Similarity, float]:
        similarity: Similarity = "cosine"
        if self._similarity != "auto":
            similarity = self._similarity
        elif isinstance(encoder.encoder, (LabColor, ColorPatches)):
            similarity = "euclidean"
        if self._temperature != "auto":
            return similarity, self._temperature
        colors = _PATCHES if isinstance(encoder.encoder, ColorPatches) else _COLOR
        return similarity, _COSINE if similarity == "cosine" else colors


def softmax(logits: Tensor) -> Tensor:
    """(N, h, w) -> (N, h, w), over all cells of each."""
    return logits.flatten(1).softmax(1).view_as(logits)


def soft_argmax(heat: Tensor, radius: float = 5.0) -> Tensor:
    """The mean of the cells' centres near the best cell, weighted by what the cells hold.

    Args:
        heat: (N, h, w) not below 0.
        radius: cells nearer than this count.

    Returns:
        (N, 2) x, y in cells, raster coordinates: the centre of the first cell is (0.5, 0.5).
    """
    rows, columns = torch.meshgrid(
        torch.arange(heat.shape[1], device=heat.device) + 0.5,
        torch.arange(heat.shape[2], device=heat.device) + 0.5,
        indexing="ij",
    )
    centres = torch.stack([columns, rows], -1).flatten(0, 1)  # (hw, 2)
    best = centres[heat.flatten(1).argmax(1)]
    near = torch.cdist(best, centres) < radius
    weights = heat.flatten(1) * near
    weights = weights / weights.sum(1, keepdim=True)
    return weights @ centres.to(weights.dtype)


def sample(features: Tensor, points: Tensor, similarity: Similarity) -> Tensor:
    """Features at points between cells, bilinear, those of the border continued outside.

    Args:
        features: (C, h, w).
        points: (N, 2) x, y in cells, raster coordinates.
        similarity: "cosine": the result has unit length.

    Returns:
        (N, C).
    """
    size = torch.tensor(features.shape[:0:-1], device=points.device)
    grid = (2 * points / size - 1)[None, None].to(features.dtype)
    found = F.grid_sample(features[None], grid, padding_mode="border", align_corners=False)
    found = found[0, :, 0].T
    return F.normalize(found, dim=1) if similarity == "cosine" else found


def scores(queries: Tensor, features: Tensor, similarity: Similarity) -> Tensor:
    """(N, C) and (C, h, w) -> (N, h, w) similarities, up to a constant of each query."""
    products = torch.einsum("nc,chw->nhw", queries, features)
    if similarity == "cosine":
        return products
    return products - features.square().sum(0) / 2


def _features(encoder: FrameEncoder, frames: NDArray[np.uint8], similarity: Similarity) -> Tensor:
    """(T, C, h, w) of all frames."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames))
    starts = range(0, len(pixels), _FRAMES_AT_ONCE)
    maps = torch.cat([encoder(pixels[i : i + _FRAMES_AT_ONCE]) for i in starts])
    return F.normalize(maps, dim=1) if similarity == "cosine" else maps

"""Where in its context a frame copies labels from, and with which weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from selfsup_motion.ops.attention import Border
from selfsup_motion.ops.attention.distant import (
    distant_matches,
    distant_part,
    expected_displacement,
)
from selfsup_motion.ops.attention.layout import Window
from selfsup_motion.ops.attention.parts import (
    attention_part,
    best_matches,
    join_matches,
    join_parts,
)

Similarity = Literal["dot", "cosine", "euclidean"]
Weights = Literal["kept", "frame"]

_FRAMES_AT_ONCE = 8


@dataclass(frozen=True)
class Frame:
    """A frame in memory: number, features (C, h, w) and labels (D, h, w)."""

    time: int
    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Reach:
    """How a context frame is searched. Frames of one reach are searched together."""

    radius: int | None
    dilation: int  # of the first step of two; 0: one step
    copies: int  # how often the frame counts


@dataclass(frozen=True)
class Search:
    """Copies labels from context frames; the settings are those of `LabelPropagator`."""

    window: Window
    far_radius: int
    similarity: Similarity
    temperature: float
    top_k: int | None
    top_k_per: Literal["context", "frame"]
    border: Border
    weights: Weights

    def copy(self, query: Tensor, context: dict[Reach, list[Frame]]) -> Tensor:
        """Labels (D, h, w) for a frame of features (C, h, w)."""
        if self.weights == "frame":
            return self._frame_by_frame(query, context)
        parts = []
        for reach, frames in context.items():
            alone = self.top_k_per == "frame" or reach.dilation
            count = 1 if alone else _FRAMES_AT_ONCE
            parts += [
                self._part(query, frames[i : i + count], reach)
                for i in range(0, len(frames), count)
            ]
        if self.top_k is None:
            return join_parts(parts)[0]
        return join_matches(parts, self.top_k * (len(parts) if self.top_k_per == "frame" else 1))[0]

    def _frame_by_frame(self, query: Tensor, context: dict[Reach, list[Frame]]) -> Tensor:
        """The mean of what each frame says by a softmax of its own; of that, only the weights of
        the `top_k` best count, as they are."""
        total, count = torch.zeros(()), 0
        for reach, frames in context.items():
            for frame in frames:
                keys, values = frame.features[None, None], frame.labels[None, None]
                q, keys = self._scorable(query[None].float(), keys.float())
                plain = {"scale": 1 / self.temperature, "border": self.border}
                window: Window = "square" if reach.radius is None else self.window
                copy, whole = attention_part(
                    q,
                    keys,
                    values,
                    reach.radius,
                    window=window,
                    **plain,  # type: ignore[arg-type]
                )
                if self.top_k is not None:
                    scores, best = best_matches(
                        q, keys, values, reach.radius, self.top_k,
                        window=window, **plain,  # type: ignore[arg-type]
                    )  # fmt: skip
                    copy = ((scores - whole).exp()[:, :, None] * best).sum(1)
                total, count = total + reach.copies * copy[0], count + reach.copies
        return total / count

    def _part(self, query: Tensor, frames: Sequence[Frame], reach: Reach) -> tuple[Tensor, Tensor]:
        """A part for `join_parts` or `join_matches`."""
        keys = torch.stack([frame.features for frame in frames])[None]
        values = torch.stack([frame.labels for frame in frames])[None]
        q, keys = self._scorable(query[None].float(), keys.float())
        window: Window = "square" if reach.radius is None else self.window
        scale = 1 / self.temperature
        if reach.dilation:
            assert reach.radius is not None
            moved = expected_displacement(
                q, keys[:, 0], self.far_radius, reach.dilation, scale=scale
            )
            near = q, keys[:, 0], values[:, 0], moved, reach.radius
            if self.top_k is None:
                part = distant_part(*near, scale=scale, border=self.border, window=window)
            else:
                part = distant_matches(
                    *near, self.top_k, scale=scale, border=self.border, window=window
                )
        elif self.top_k is None:
            part = attention_part(
                q, keys, values, reach.radius, scale=scale, border=self.border, window=window
            )
        else:
            part = best_matches(
                q, keys, values, reach.radius, self.top_k,
                scale=scale, border=self.border, window=window,
            )  # fmt: skip
        return self._counted(part, reach.copies)

    def _counted(self, part: tuple[Tensor, Tensor], copies: int) -> tuple[Tensor, Tensor]:
        """Let a part count several times."""
        first, second = part
        if copies == 1:
            return part
        if self.top_k is None:
            return first, second + math.log(copies)
        return first.repeat(1, copies, 1, 1), second.repeat(1, copies, 1, 1, 1)

    def _scorable(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Features whose dot product is the similarity, up to a constant of each query."""
        if self.similarity != "euclidean":
            return query, keys
        ones = torch.ones_like(query[:, :1])
        halves = -keys.square().sum(2, keepdim=True) / 2
        return torch.cat([query, ones], 1), torch.cat([keys, halves], 2)

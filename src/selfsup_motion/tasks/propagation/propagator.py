"""Label propagation: the labels of a frame are copied from earlier frames that resemble it.

One engine for CorrFlow (section 3.4), MAST (section 3.3), CRW (section 3.2) and their kin; they
differ in which frames are kept, how far is looked, and how scores become weights. The published
settings are in `conf/propagator`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
from selfsup_motion.tasks.propagation.frame_size import FrameSize

Similarity = Literal["dot", "cosine", "euclidean"]
LabelResize = Literal["mean", "bilinear", "subsample", "blend_ids"]

_FRAMES_AT_ONCE = 8
_DTYPES = {"32": torch.float32, "16": torch.float16}


@dataclass(frozen=True)
class _Frame:
    time: int
    features: Tensor  # (C, h, w)
    labels: Tensor  # (D, h, w)


@dataclass(frozen=True)
class _Reach:
    """How a context frame is searched. Frames of one reach are searched together."""

    radius: int | None
    dilation: int  # of the first step of two; 0: one step
    copies: int  # how often the frame counts


class LabelPropagator:
    """Follows labels through a video, frame by frame; keeps only the frames it will need.

    Use: `start` with the first frame, then for each following one `step` and `store`. The defaults
    are for learned features in general: the first and the last 5 frames, the 10 best by cosine.

    Args:
        long_term: numbers of the frames that are kept for good; 0 is the first.
        recent: how many frames ago the other context frames are, e.g. [1] or [1, 3, 5]; a number
            n stands for the last n frames.
        repeat_first: at the start of a video, the first frame stands in for the recent frames
            that do not exist yet, and counts as often (CRW). Otherwise each frame counts once.
        radius: of the window around a pixel, in cells of the features.
        window: "square", (2·radius + 1)² cells, or "disc", Euclidean distance < radius.
        long_term_radius: of the window in long-term frames; None: they are searched everywhere.
        far_gap: frames more than this many frames ago are searched in two steps (MAST): a window
            with a dilation of min(4, 1 + distance // far_gap) tells how far each pixel has moved,
            the window of `radius` is laid there. None: never.
        far_radius: of the window of the first of the two steps, in steps of the dilation.
        similarity: "dot" product, "cosine", or "euclidean": minus half the squared distance.
        temperature: scores are divided by it before the softmax.
        top_k: only so many best scores of a pixel count; None: all.
        top_k_per: "context", over all context frames together, or "frame".
        border: cells outside the image are left out ("exclude"), or have a score and a label of
            zero ("zero").
        hard: store what was found as hard labels (the best object of each pixel at full
            resolution; dots drawn anew for points) instead of as soft ones.
        label_resize: from pixels to cells: "mean" of the pixels of a cell; "bilinear" at the
            cell's centre; "subsample", its first pixel; "blend_ids", bilinear in the ids
            themselves, as CorrFlow's published code: between objects 1 and 3 lies object 2.
        storage: "32" or "16" bits for the features and labels that are kept.
        short_side: this and the next three: the size at which frames are encoded, see `FrameSize`;
            for who makes the features.
        enlarge: see above.
        long_side_multiple: see above.
        frame_size: see above.

    Attributes:
        settings: the arguments by their names.
        size: at which frames are encoded.
        name: of the preset that they are from, for messages.

    Raises:
        ValueError: an argument is out of range, or two do not go together.
    """

    def __init__(
        self,
        *,
        long_term: Sequence[int] = (0,),
        recent: int | Sequence[int] = 5,
        repeat_first: bool = False,
        radius: int = 8,
        window: Window = "square",
        long_term_radius: int | None = 8,
        far_gap: int | None = None,
        far_radius: int = 12,
        similarity: Similarity = "cosine",
        temperature: float = 0.02,
        top_k: int | None = 10,
        top_k_per: Literal["context", "frame"] = "context",
        border: Border = "exclude",
        hard: bool = False,
        label_resize: LabelResize = "mean",
        storage: Literal["32", "16"] = "32",
        short_side: int | None = None,
        enlarge: bool = False,
        long_side_multiple: int = 1,
        frame_size: Sequence[int] | None = None,
    ) -> None:
        self.name: str | None = None
        self.settings: dict[str, Any] = {
            "long_term": list(long_term),
            "recent": recent if isinstance(recent, int) else list(recent),
            "repeat_first": repeat_first, "radius": radius, "window": window,
            "long_term_radius": long_term_radius, "far_gap": far_gap, "far_radius": far_radius,
            "similarity": similarity, "temperature": temperature, "top_k": top_k,
            "top_k_per": top_k_per, "border": border, "hard": hard, "label_resize": label_resize,
            "storage": storage, "short_side": short_side, "enlarge": enlarge,
            "long_side_multiple": long_side_multiple,
            "frame_size": None if frame_size is None else list(frame_size),
        }  # fmt: skip
        self.size = FrameSize(short_side, enlarge, long_side_multiple, frame_size)
        offsets = range(1, recent + 1) if isinstance(recent, int) else recent
        self.long_term, self.recent = tuple(sorted(set(long_term))), tuple(sorted(set(offsets)))
        self.repeat_first = repeat_first
        self.radius, self.long_term_radius = radius, long_term_radius
        self.far_gap, self.far_radius = far_gap, far_radius
        self.window: Window = window
        self.similarity, self.temperature = similarity, temperature
        self.top_k, self.top_k_per = top_k, top_k_per
        self.border: Border = border
        self.hard = hard
        self.label_resize: LabelResize = label_resize
        self._dtype = _DTYPES[storage]
        self._check()
        self._frames: dict[int, _Frame] = {}
        self._time = 0
        self._waiting: Tensor | None = None

    def __str__(self) -> str:
        frames = [f"frame {t}" for t in self.long_term]
        last = len(self.recent)
        if self.recent == tuple(range(1, last + 1)):
            frames += [f"the last {last} frames" if last > 1 else "the previous frame"]
        else:
            frames += [f"t - {offset}" for offset in self.recent]
        best = "" if self.top_k is None else f", the {self.top_k} best"
        labels = "hard" if self.hard else "soft"
        size = f"; {size}" if (size := str(self.size)) else ""
        return (
            f"{', '.join(frames)}; radius {self.radius}; {self.similarity}, temperature "
            f"{self.temperature:g}{best}; {labels} labels{size}"
        )

    def changed(self, **settings: Any) -> LabelPropagator:
        """Another one of these settings and, for the rest, of one's own."""
        made = LabelPropagator(**{**self.settings, **settings})
        made.name = self.name
        return made

    def start(self, features: Tensor, labels: Tensor) -> None:
        """Begin a video, forgetting any other.

        Args:
            features: (C, h, w) of the first frame.
            labels: (D, h, w) not below 0, its labels.
        """
        self._frames, self._time = {}, 0
        self._waiting = self._prepare(features)
        self.store(labels)

    def step(self, features: Tensor) -> Tensor:
        """Labels of the next frame.

        Args:
            features: (C, h, w), as large as those of the first frame.

        Returns:
            (D, h, w) float32. Call `store` before the next step.
        """
        if self._waiting is not None or not self._frames:
            raise RuntimeError("step comes after start or store")
        self._time += 1
        query = self._prepare(features)
        self._waiting = query
        parts = []
        for reach, frames in self._context().items():
            alone = self.top_k_per == "frame" or reach.dilation
            count = 1 if alone else _FRAMES_AT_ONCE
            parts += [
                self._search(query, frames[i : i + count], reach)
                for i in range(0, len(frames), count)
            ]
        if self.top_k is None:
            return join_parts(parts)[0]
        return join_matches(parts, self.top_k * (len(parts) if self.top_k_per == "frame" else 1))[0]

    def store(self, labels: Tensor) -> None:
        """Keep the frame of the last `step` (or `start`) with these (D, h, w) labels."""
        if self._waiting is None:
            raise RuntimeError("store comes after start or step")
        labels = labels.to(self._waiting.device, self._dtype)
        if labels.shape[1:] != self._waiting.shape[1:]:
            raise ValueError(
                f"labels {tuple(labels.shape)} must have the height and width of the features "
                f"{tuple(self._waiting.shape)}"
            )
        self._frames[self._time] = _Frame(self._time, self._waiting, labels)
        self._waiting = None
        oldest = self._time + 1 - max(self.recent, default=0)
        needed = (t for t in self._frames if t >= oldest or t in self.long_term)
        keep = {*needed, 0} if self.repeat_first and oldest < 0 else set(needed)
        self._frames = {t: frame for t, frame in self._frames.items() if t in keep}

    @property
    def frames_kept(self) -> int:
        """How many frames are in memory."""
        return len(self._frames)

    def _context(self) -> dict[_Reach, list[_Frame]]:
        """The frames that the current one copies from, by how they are searched."""
        recent = [self._time - offset for offset in self.recent]
        long_term = [t for t in self.long_term if t < self._time]
        counts = dict.fromkeys(recent, 1)
        if self.repeat_first:
            missing = sum(t < 0 for t in recent)
            counts[0] = counts.get(0, 0) + missing
        times = [(t, self.long_term_radius, 1) for t in long_term]
        times += [
            (t, self.radius, count)
            for t, count in counts.items()
            if t >= 0 and count and (self.repeat_first or t not in long_term)
        ]
        groups: dict[_Reach, list[_Frame]] = {}
        for time, radius, copies in times:
            reach = _Reach(radius, self._dilation(self._time - time), copies)
            groups.setdefault(reach, []).append(self._frames[time])
        return groups

    def _dilation(self, gap: int) -> int:
        if self.far_gap is None or gap <= self.far_gap:
            return 0
        return min(4, gap // self.far_gap + 1)

    def _search(
        self, query: Tensor, frames: Sequence[_Frame], reach: _Reach
    ) -> tuple[Tensor, Tensor]:
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

    def _prepare(self, features: Tensor) -> Tensor:
        if self.similarity == "cosine":
            features = torch.nn.functional.normalize(features, dim=0)
        return features.to(self._dtype)

    def _scorable(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Features whose dot product is the similarity, up to a constant of each query."""
        if self.similarity != "euclidean":
            return query, keys
        ones = torch.ones_like(query[:, :1])
        halves = -keys.square().sum(2, keepdim=True) / 2
        return torch.cat([query, ones], 1), torch.cat([keys, halves], 2)

    def _check(self) -> None:
        problems = [
            (not self.recent and not self.long_term, "recent and long_term are both empty"),
            (min(self.recent, default=1) < 1, "recent counts frames back from 1"),
            (min(self.long_term, default=0) < 0, "long_term holds frame numbers from 0"),
            (1 not in self.recent and 0 not in self.long_term,
             "the second frame needs a context: put 1 in recent or 0 in long_term"),
            (self.radius < (self.window == "disc"), "radius is too small"),
            (self.temperature <= 0, "temperature must be positive"),
            (self.top_k is not None and self.top_k < 1, "top_k must be at least 1"),
            (self.far_gap is not None and self.far_gap < 1, "far_gap must be at least 1"),
            (self.far_radius < 1, "far_radius must be at least 1"),
            (self.far_gap is not None and self.long_term_radius is None,
             "far_gap needs long_term_radius: there is no window to dilate"),
            (self.similarity == "euclidean" and self.border == "zero",
             "border=zero has no meaning for similarity=euclidean"),
        ]  # fmt: skip
        for wrong, text in problems:
            if wrong:
                raise ValueError(f"propagator: {text}")

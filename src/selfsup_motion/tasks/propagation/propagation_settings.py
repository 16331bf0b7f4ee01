"""How labels are followed: all in which the published propagations differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from selfsup_motion.ops.attention import Border
from selfsup_motion.ops.attention.layout import Window
from selfsup_motion.tasks.propagation.frame_size import FrameSize
from selfsup_motion.tasks.propagation.search import Similarity, Weights

LabelResize = Literal["mean", "bilinear", "corners", "nearest", "subsample", "blend_ids"]
MinMax = Literal["output", "stored"]
Pixels = Literal["own", "seen", "cells", "corners"]
Starts = Literal["memory", "contexts"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PropagationSettings:
    """The defaults are for learned features in general: the first and the last 5 frames, the 10
    best by cosine. What is published is in `conf/propagator`.

    Raises:
        ValueError: a setting is out of range, or two do not go together.
    """

    long_term: Sequence[int] = (0,)
    """Numbers of the frames that are kept for good; 0 is the first."""
    recent: int | Sequence[int] = 5
    """How many frames ago the other context frames are, e.g. [1] or [1, 3, 5]; a number n stands
    for the last n frames."""
    repeat_first: bool = False
    """At the start of a video, the first frame stands in for the recent frames that do not exist
    yet, and counts as often (CRW). Otherwise each frame counts once."""
    count_twice: bool = False
    """A long-term frame that is also one of the recent ones counts as both."""
    predict_first: bool = False
    """As one of the recent frames, the first one has the labels that are found for it by itself
    instead of the given ones (TimeCycle)."""
    radius: int | None = 8
    """Of the window around a pixel, in cells of the features; None: no window."""
    window: Window = "square"
    """A "square", (2·radius + 1)² cells, or a "disc", Euclidean distance < radius."""
    long_term_radius: int | None = 8
    """Of the window in long-term frames; None: they are searched everywhere."""
    far_gap: int | None = None
    """Frames more than this many frames ago are searched in two steps (MAST): a window with a
    dilation of min(4, 1 + distance // far_gap) tells how far each pixel has moved, the window of
    `radius` is laid there. None: never."""
    far_radius: int = 12
    """Of the window of the first of the two steps, in steps of the dilation."""
    similarity: Similarity = "cosine"
    """The "dot" product, the "cosine", or "euclidean": minus half the squared distance."""
    temperature: float = 0.02
    """Scores are divided by it before the softmax."""
    top_k: int | None = 10
    """Only so many best scores of a pixel count; None: all."""
    top_k_per: Literal["context", "frame"] = "context"
    """Over all context frames together ("context"), or in each "frame"."""
    weights: Weights = "kept"
    """A softmax over the scores that count ("kept"); or over all scores of a "frame", of which
    those that count keep their weights, and the mean over the frames (TimeCycle)."""
    border: Border = "exclude"
    """Cells outside the image are left out ("exclude"), or have a score and a label of zero
    ("zero")."""
    hard: bool = False
    """Store what was found as hard labels (the best object of each pixel at full resolution; dots
    drawn anew for points) instead of as soft ones."""
    label_resize: LabelResize = "mean"
    """From pixels to cells: "mean" of a cell's pixels; "bilinear" at its centre; "corners",
    bilinear with the corners' centres in line, as dense-ulearn's published code; "nearest", the
    pixel at its centre; "subsample", its first pixel; "blend_ids", bilinear in the ids themselves,
    as CorrFlow's published code: 2 lies between 1 and 3."""
    min_max: MinMax | None = None
    """Each label's map is stretched to [0, 1]: before the best label of a pixel is chosen
    ("output"), or also before it is stored ("stored"); None: it is not."""
    pixels: Pixels = "own"
    """Where the best label is chosen: at the frame's "own" pixels, between cells bilinear; at the
    pixels of the frame as it was "seen", and the nearest one of them taken; at the "cells"; or
    "corners", own pixels with the corners' centres in line."""
    starts: Starts = "memory"
    """Of objects that appear later: their first frames join the long-term "memory" if it has the
    first frame; or each start has a "contexts" of its own, which knows no earlier frames and tells
    where the objects are that began with it (dense-ulearn)."""
    target_weight: float = 0.0
    """Of a classifier of cells that learns during the video what each object looks like, see
    `TargetModel.refine`; 0: none. Only labels that share out every cell of the first frame have
    one, as masks do and points do not."""
    storage: Literal["32", "16"] = "32"
    """Bits of the features and labels that are kept."""
    short_side: int | None = None
    """This and the next four: the size at which frames are encoded, see `FrameSize`; for who makes
    the features."""
    enlarge: bool = False
    """See above."""
    long_side_multiple: int = 1
    """See above."""
    frame_size: Sequence[int] | None = None
    """See above."""
    more_scales: Sequence[float] = ()
    """See above; features of several scales are averaged."""

    def __post_init__(self) -> None:
        for name, choices in _choices().items():
            value = getattr(self, name)
            if value not in choices:
                named = ", ".join(map(repr, choices))
                raise ValueError(f"propagator: {name}={value!r}: expected one of {named}")
        _ = self.size  # refuses what is no size
        for wrong, text in self._problems():
            if wrong:
                raise ValueError(f"propagator: {text}")

    def __str__(self) -> str:
        frames = [f"frame {t}" for t in sorted(set(self.long_term))]
        last = len(self.offsets)
        if self.offsets == tuple(range(1, last + 1)):
            frames += [f"the last {last} frames" if last > 1 else "the previous frame"]
        else:
            frames += [f"t - {offset}" for offset in self.offsets]
        best = "" if self.top_k is None else f", the {self.top_k} best"
        radius = "no window" if self.radius is None else f"radius {self.radius}"
        labels = "hard" if self.hard else "soft"
        target = f"; target model {self.target_weight:g}" if self.target_weight else ""
        size = f"; {size}" if (size := str(self.size)) else ""
        return (
            f"{', '.join(frames)}; {radius}; {self.similarity}, temperature "
            f"{self.temperature:g}{best}; {labels} labels{target}{size}"
        )

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """How many frames ago the `recent` frames are, ascending."""
        recent = self.recent
        return tuple(sorted(set(range(1, recent + 1) if isinstance(recent, int) else recent)))

    @cached_property
    def size(self) -> FrameSize:
        """At which frames are encoded."""
        return FrameSize(
            self.short_side,
            self.enlarge,
            self.long_side_multiple,
            self.frame_size,
            self.more_scales,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """All of them by name; sequences are lists."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            several = isinstance(value, Sequence) and not isinstance(value, str)
            found[field.name] = list(value) if several else value
        return found

    def _problems(self) -> list[tuple[bool, str]]:
        """What does not go together, and whether it is so."""
        no_window = None in (self.long_term_radius, self.radius)
        return [
            (not self.offsets and not self.long_term, "recent and long_term are both empty"),
            (min(self.offsets, default=1) < 1, "recent counts frames back from 1"),
            (min(self.long_term, default=0) < 0, "long_term holds frame numbers from 0"),
            (1 not in self.offsets and 0 not in self.long_term,
             "the second frame needs a context: put 1 in recent or 0 in long_term"),
            (self.radius is not None and self.radius < (self.window == "disc"),
             "radius is too small"),
            (self.target_weight < 0, "target_weight must not be negative"),
            (self.temperature <= 0, "temperature must be positive"),
            (self.top_k is not None and self.top_k < 1, "top_k must be at least 1"),
            (self.far_gap is not None and self.far_gap < 1, "far_gap must be at least 1"),
            (self.far_radius < 1, "far_radius must be at least 1"),
            (self.far_gap is not None and no_window,
             "far_gap needs radius and long_term_radius: there is no window to dilate"),
            (self.weights == "frame" and self.far_gap is not None,
             "weights=frame does not go with far_gap"),
            (self.similarity == "euclidean" and self.border == "zero",
             "border=zero has no meaning for similarity=euclidean"),
        ]  # fmt: skip


@cache
def _choices() -> dict[str, tuple[Any, ...]]:
    """What each setting that names one of several may be."""
    found = {}
    for name, hint in get_type_hints(PropagationSettings).items():
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        literals = [
            value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)
        ]
        if literals:
            found[name] = (*literals, *([None] if NoneType in kinds else []))
    return found

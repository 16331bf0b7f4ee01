"""Label propagation: the labels of a frame are copied from earlier frames that resemble it.

One engine for CorrFlow (section 3.4), MAST (section 3.3), CRW (section 3.2) and their kin; they
differ in which frames are kept, how far is looked, and how scores become weights. The published
settings are in `conf/propagator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from selfsup_motion.ops.attention import Border
from selfsup_motion.ops.attention.layout import Window
from selfsup_motion.tasks.propagation.frame_size import FrameSize
from selfsup_motion.tasks.propagation.search import Frame, Reach, Search, Similarity, Weights
from selfsup_motion.tasks.propagation.target_model import TargetModel

LabelResize = Literal["mean", "bilinear", "corners", "nearest", "subsample", "blend_ids"]
MinMax = Literal["output", "stored"]
Pixels = Literal["own", "seen", "cells", "corners"]
Starts = Literal["memory", "contexts"]

_DTYPES = {"32": torch.float32, "16": torch.float16}
_ROUNDING = 1e-3
_AGAIN = -1
"""Key of the first frame with the labels that were found for it."""


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
        count_twice: a long-term frame that is also one of the recent ones counts as both.
        predict_first: as one of the recent frames, the first one has the labels that are found for
            it by itself instead of the given ones (TimeCycle).
        radius: of the window around a pixel, in cells of the features; None: no window.
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
        weights: "kept", a softmax over the scores that count; "frame", over all scores of a frame,
            of which those that count keep their weights, and the mean over the frames (TimeCycle).
        border: cells outside the image are left out ("exclude"), or have a score and a label of
            zero ("zero").
        hard: store what was found as hard labels (the best object of each pixel at full
            resolution; dots drawn anew for points) instead of as soft ones.
        label_resize: from pixels to cells: "mean" of a cell's pixels; "bilinear" at its centre;
            "corners", bilinear with the corners' centres in line, as dense-ulearn's published code;
            "nearest", the pixel at its centre; "subsample", its first pixel; "blend_ids", bilinear
            in the ids themselves, as CorrFlow's published code: 2 lies between 1 and 3.
        min_max: each label's map is stretched to [0, 1]: before the best label of a pixel is
            chosen ("output"), or also before it is stored ("stored"); None: it is not.
        pixels: where the best label is chosen: at the frame's "own" pixels, between cells bilinear;
            at the pixels of the frame as it was "seen", and the nearest one of them taken; at the
            "cells"; or "corners", own pixels with the corners' centres in line.
        starts: of objects that appear later: their first frames join the long-term "memory" if it
            has the first frame; or each start has a "contexts" of its own, which knows no earlier
            frames and tells where the objects are that began with it (dense-ulearn).
        target_weight: of a classifier of cells that learns during the video what each object looks
            like, see `TargetModel.refine`; 0: none. Only labels that share out every cell of the
            first frame have one, as masks do and points do not.
        storage: "32" or "16" bits for the features and labels that are kept.
        short_side: this and the next four: the size at which frames are encoded, see `FrameSize`;
            for who makes the features.
        enlarge: see above.
        long_side_multiple: see above.
        frame_size: see above.
        more_scales: see above; features of several scales are averaged.

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
        count_twice: bool = False,
        predict_first: bool = False,
        radius: int | None = 8,
        window: Window = "square",
        long_term_radius: int | None = 8,
        far_gap: int | None = None,
        far_radius: int = 12,
        similarity: Similarity = "cosine",
        temperature: float = 0.02,
        top_k: int | None = 10,
        top_k_per: Literal["context", "frame"] = "context",
        weights: Weights = "kept",
        border: Border = "exclude",
        hard: bool = False,
        label_resize: LabelResize = "mean",
        min_max: MinMax | None = None,
        pixels: Pixels = "own",
        starts: Starts = "memory",
        target_weight: float = 0.0,
        storage: Literal["32", "16"] = "32",
        short_side: int | None = None,
        enlarge: bool = False,
        long_side_multiple: int = 1,
        frame_size: Sequence[int] | None = None,
        more_scales: Sequence[float] = (),
    ) -> None:
        self.name: str | None = None
        self.settings: dict[str, Any] = {
            "long_term": list(long_term),
            "recent": recent if isinstance(recent, int) else list(recent),
            "repeat_first": repeat_first, "count_twice": count_twice,
            "predict_first": predict_first, "radius": radius, "window": window,
            "long_term_radius": long_term_radius, "far_gap": far_gap, "far_radius": far_radius,
            "similarity": similarity, "temperature": temperature, "top_k": top_k,
            "top_k_per": top_k_per, "weights": weights, "border": border, "hard": hard,
            "label_resize": label_resize, "min_max": min_max, "pixels": pixels, "starts": starts,
            "target_weight": target_weight, "storage": storage, "short_side": short_side,
            "enlarge": enlarge, "long_side_multiple": long_side_multiple,
            "frame_size": None if frame_size is None else list(frame_size),
            "more_scales": list(more_scales),
        }  # fmt: skip
        self.size = FrameSize(short_side, enlarge, long_side_multiple, frame_size, more_scales)
        offsets = range(1, recent + 1) if isinstance(recent, int) else recent
        self.long_term, self.recent = tuple(sorted(set(long_term))), tuple(sorted(set(offsets)))
        self.repeat_first, self.count_twice = repeat_first, count_twice
        self.predict_first = predict_first
        self.radius, self.long_term_radius = radius, long_term_radius
        self.far_gap = far_gap
        self.hard, self.min_max, self.starts = hard, min_max, starts
        self.target_weight = target_weight
        self.label_resize: LabelResize = label_resize
        self.pixels: Pixels = pixels
        self._search = Search(
            window, far_radius, similarity, temperature, top_k, top_k_per, border, weights
        )
        self._dtype = _DTYPES[storage]
        self._check()
        self._frames: dict[int, Frame] = {}
        self._time = 0
        self._waiting: Tensor | None = None
        self._kept: set[int] = set()
        self._told: Tensor | None = None
        self._target: TargetModel | None = None
        self._later: list[tuple[LabelPropagator, Tensor]] = []

    def __str__(self) -> str:
        frames = [f"frame {t}" for t in self.long_term]
        last = len(self.recent)
        if self.recent == tuple(range(1, last + 1)):
            frames += [f"the last {last} frames" if last > 1 else "the previous frame"]
        else:
            frames += [f"t - {offset}" for offset in self.recent]
        found = self._search
        best = "" if found.top_k is None else f", the {found.top_k} best"
        radius = "no window" if self.radius is None else f"radius {self.radius}"
        labels = "hard" if self.hard else "soft"
        target = f"; target model {self.target_weight:g}" if self.target_weight else ""
        size = f"; {size}" if (size := str(self.size)) else ""
        return (
            f"{', '.join(frames)}; {radius}; {found.similarity}, temperature "
            f"{found.temperature:g}{best}; {labels} labels{target}{size}"
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
        self._frames, self._time, self._kept, self._later = {}, 0, set(), []
        self._told = (labels.flatten(1) > 0).any(1)
        self._told[0] = True
        shares = bool(((labels.sum(0) - 1).abs() < _ROUNDING).all())
        self._target = TargetModel() if self.target_weight and shares else None
        self._waiting = self._prepare(features)
        self.store(labels)
        if self.predict_first:
            query = self._frames[0].features
            copies = Reach(self.radius, 0, len(self.recent))
            context = {copies: [self._frames[0]]}
            if 0 in self.long_term:
                context.setdefault(Reach(self.long_term_radius, 0, 1), []).append(self._frames[0])
            found = self._stretched(self._search.copy(query, context)).to(self._dtype)
            self._frames[_AGAIN] = Frame(0, query, found)

    @property
    def first_found(self) -> Tensor:
        """(D, h, w) labels that were found for the first frame, with `predict_first`."""
        return self._frames[_AGAIN].labels.float()

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
        found = self._search.copy(query, self._context())
        if self._target is not None:
            found = self._target.refine(query, found, self.target_weight)
        if self._later:
            assert self._told is not None
            found = found * self._told[:, None, None]
            for context, told in self._later:
                found = found + context.step(features) * told[:, None, None]
        return self._stretched(found)

    def store(self, labels: Tensor, starting: Sequence[int] = ()) -> None:
        """Keep the frame of the last `step` (or `start`).

        Args:
            labels: (D, h, w) of the frame.
            starting: labels that begin with this frame, or begin anew because somebody has
                corrected them in it. Such a frame is kept for good if the first one is.
        """
        if self._waiting is None:
            raise RuntimeError("store comes after start or step")
        labels = labels.to(self._waiting.device, self._dtype)
        expected = self._labels, *self._waiting.shape[1:]
        if tuple(labels.shape) != expected:
            raise ValueError(
                f"labels must be {expected}, as many as at the start and of the size of the "
                f"features, got {tuple(labels.shape)}"
            )
        self._frames[self._time] = Frame(self._time, self._waiting, labels)
        if self._target is not None:
            self._target.learn(self._waiting, labels, starting)
        for context, _ in self._later:
            context.store(labels)
        if starting:
            self._begin(labels, starting)
        self._waiting = None
        oldest = self._time + 1 - max(self.recent, default=0)
        needed = {t for t in self._frames if t >= max(oldest, 0)} | {*self.long_term, *self._kept}
        if self.repeat_first and oldest < 0:
            needed.add(0)
        if oldest <= 0:
            needed.add(_AGAIN)
        self._frames = {t: frame for t, frame in self._frames.items() if t in needed}

    @property
    def frames_kept(self) -> int:
        """How many frames are in memory."""
        return len(self._frames)

    @property
    def bytes_kept(self) -> int:
        """Memory of what is kept."""
        tensors = [t for frame in self._frames.values() for t in (frame.features, frame.labels)]
        own = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        own += 0 if self._target is None else self._target.bytes_kept
        return own + sum(context.bytes_kept for context, _ in self._later)

    def forget(self, labels: Sequence[int]) -> None:
        """Remove some labels from all frames that are kept."""
        if not labels:
            return
        for time, frame in self._frames.items():
            left = frame.labels.clone()
            left[list(labels)] = 0
            self._frames[time] = Frame(frame.time, frame.features, left)
        for context, _ in self._later:
            context.forget(labels)

    def fork(self, places: Sequence[int], count: int) -> LabelPropagator:
        """Another one that goes on from the same frame; each can then be given frames of its own.

        Args:
            places: new places of the labels, those of objects that are still to come between them.
            count: of labels, the new ones included.
        """
        made = self.changed()
        made._time, made._kept, made._waiting = self._time, set(self._kept), self._waiting
        made._frames = {
            time: Frame(frame.time, frame.features, _moved(frame.labels, places, count))
            for time, frame in self._frames.items()
        }
        if self._told is not None:
            made._told = _moved(self._told, places, count)
        if self._target is not None:
            made._target = self._target.moved(places, count)
        made._later = [
            (context.fork(places, count), _moved(told, places, count))
            for context, told in self._later
        ]
        return made

    def lightened(self) -> LabelPropagator:
        """Another one that stands after the same frame but has no features, which take most of the
        memory; `refill` it before its next step."""
        made = self.fork(range(self._labels), self._labels)
        made._lighten()
        return made

    @property
    def wanted(self) -> set[int]:
        """The frames whose features `refill` wants; 0 is the last one, 1 the one before it."""
        own = {self._time - f.time for f in self._frames.values() if not f.features.numel()}
        return own.union(*(context.wanted for context, _ in self._later))

    def refill(self, features: Mapping[int, Tensor]) -> None:
        """Have features again.

        Args:
            features: (C, h, w) of frames that are `wanted`; it may take several calls for all.
        """
        prepared = {ago: self._prepare(of_frame) for ago, of_frame in features.items()}
        for key, frame in self._frames.items():
            again = prepared.get(self._time - frame.time)
            if again is not None and not frame.features.numel():
                self._frames[key] = Frame(frame.time, again, frame.labels)
        for context, _ in self._later:
            context.refill(features)

    @property
    def _labels(self) -> int:
        """How many there are, D."""
        return 0 if self._told is None else len(self._told)

    def _lighten(self) -> None:
        self._frames = {
            time: Frame(frame.time, frame.features.new_empty(0), frame.labels)
            for time, frame in self._frames.items()
        }
        for context, _ in self._later:
            context._lighten()

    def _begin(self, labels: Tensor, starting: Sequence[int]) -> None:
        """Remember the first frame of some labels."""
        assert self._told is not None
        assert self._waiting is not None
        if self.starts == "memory":
            self._kept |= {self._time} if 0 in self.long_term else set()
            return
        own = torch.zeros_like(self._told)
        own[list(starting)] = True
        self._told = self._told & ~own
        self._later = [(context, told & ~own) for context, told in self._later]
        context = self.changed(starts="memory")
        context.start(self._waiting, labels)
        self._later.append((context, own))

    def _stretched(self, labels: Tensor) -> Tensor:
        return min_max(labels) if self.min_max == "stored" else labels

    def _context(self) -> dict[Reach, list[Frame]]:
        """The frames that the current one copies from, by how they are searched."""
        recent = [self._time - offset for offset in self.recent]
        long_term = [t for t in {*self.long_term, *self._kept} if t < self._time]
        counts = dict.fromkeys(recent, 1)
        if self.predict_first and 0 in counts:
            counts[_AGAIN] = counts.pop(0)
        else:
            counts.pop(_AGAIN, None)
        if self.repeat_first:
            missing = sum(t < 0 for t in recent)
            counts[0] = counts.get(0, 0) + missing
        both = self.repeat_first or self.count_twice or self.predict_first
        times = [(t, self.long_term_radius, 1) for t in sorted(long_term)]
        times += [
            (t, self.radius, count)
            for t, count in counts.items()
            if t in self._frames and count and (both or t not in long_term)
        ]
        groups: dict[Reach, list[Frame]] = {}
        for time, radius, copies in times:
            frame = self._frames[time]
            reach = Reach(radius, self._dilation(self._time - frame.time), copies)
            groups.setdefault(reach, []).append(frame)
        return groups

    def _dilation(self, gap: int) -> int:
        if self.far_gap is None or gap <= self.far_gap:
            return 0
        return min(4, gap // self.far_gap + 1)

    def _prepare(self, features: Tensor) -> Tensor:
        if self._search.similarity == "cosine":
            features = torch.nn.functional.normalize(features, dim=0)
        return features.to(self._dtype)

    def _check(self) -> None:
        found = self._search
        problems = [
            (not self.recent and not self.long_term, "recent and long_term are both empty"),
            (min(self.recent, default=1) < 1, "recent counts frames back from 1"),
            (min(self.long_term, default=0) < 0, "long_term holds frame numbers from 0"),
            (1 not in self.recent and 0 not in self.long_term,
             "the second frame needs a context: put 1 in recent or 0 in long_term"),
            (self.radius is not None and self.radius < (found.window == "disc"),
             "radius is too small"),
            (self.target_weight < 0, "target_weight must not be negative"),
            (found.temperature <= 0, "temperature must be positive"),
            (found.top_k is not None and found.top_k < 1, "top_k must be at least 1"),
            (self.far_gap is not None and self.far_gap < 1, "far_gap must be at least 1"),
            (found.far_radius < 1, "far_radius must be at least 1"),
            (self.far_gap is not None and None in (self.long_term_radius, self.radius),
             "far_gap needs radius and long_term_radius: there is no window to dilate"),
            (found.weights == "frame" and self.far_gap is not None,
             "weights=frame does not go with far_gap"),
            (found.similarity == "euclidean" and found.border == "zero",
             "border=zero has no meaning for similarity=euclidean"),
        ]  # fmt: skip
        for wrong, text in problems:
            if wrong:
                raise ValueError(f"propagator: {text}")


def _moved(labels: Tensor, places: Sequence[int], count: int) -> Tensor:
    if list(places) == list(range(count)):
        return labels
    moved = labels.new_zeros(count, *labels.shape[1:])
    moved[list(places)] = labels
    return moved


def min_max(labels: Tensor) -> Tensor:
    """Stretch each of the maps (D, h, w) to [0, 1], those that are nowhere above 0 excepted."""
    low, high = labels.flatten(1).aminmax(dim=1)
    span = torch.where(high > 0, high - low, torch.ones_like(high))
    low = torch.where(high > 0, low, torch.zeros_like(low))
    # a map of one value above 0 becomes 0
    span = span.clamp(min=torch.finfo(labels.dtype).tiny)
    return (labels - low[:, None, None]) / span[:, None, None]

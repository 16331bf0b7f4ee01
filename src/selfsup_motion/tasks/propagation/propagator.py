"""Label propagation: the labels of a frame are copied from earlier frames that resemble it.

One engine for CorrFlow (section 3.4), MAST (section 3.3), CRW (section 3.2) and their kin; they
differ in which frames are kept, how far is looked, and how scores become weights. The published
settings are in `conf/propagator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from selfsup_motion.tasks.propagation.propagation_settings import PropagationSettings
from selfsup_motion.tasks.propagation.search import Frame, Reach, Search
from selfsup_motion.tasks.propagation.target_model import TargetModel

_DTYPES = {"32": torch.float32, "16": torch.float16}
_ROUNDING = 1e-3
_AGAIN = -1
"""Key of the first frame with the labels that were found for it."""


class LabelPropagator(PropagationSettings):
    """Follows labels through a video, frame by frame; keeps only the frames it will need.

    Use: `start` with the first frame, then for each following one `step` and `store`. Its arguments
    are the fields of `PropagationSettings`.

    Attributes:
        name: of the preset that the settings are from, for messages.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name: str | None = None
        self._search = Search(
            self.window,
            self.far_radius,
            self.similarity,
            self.temperature,
            self.top_k,
            self.top_k_per,
            self.border,
            self.weights,
        )
        self._dtype = _DTYPES[self.storage]
        self._frames: dict[int, Frame] = {}
        self._time = 0
        self._waiting: Tensor | None = None
        self._kept: set[int] = set()
        self._told: Tensor | None = None
        self._target: TargetModel | None = None
        self._later: list[tuple[LabelPropagator, Tensor]] = []

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
            copies = Reach(self.radius, 0, len(self.offsets))
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
        oldest = self._time + 1 - max(self.offsets, default=0)
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
        recent = [self._time - offset for offset in self.offsets]
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

"""`ConcatSource`: several sources as one, in chosen proportions."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import Source, VideoInfo, divided_by_name
from selfsup_motion.errors import ClipReadError, UserError


class ConcatSource(Source):
    """The videos of several sources, one source after the other; `key` is `<name>/<their key>`.

    With weights, an epoch holds each source in proportion to its weight and every video at least
    once: the videos of a source that is too small for its share are visited again, equally often
    (± 1) and with other frames and augmentation. Without, every video is visited once.

    `conf/data/mix.yaml` makes one of what `of_split` is given.
    """

    def __init__(
        self, sources: Mapping[str, Source], weights: Mapping[str, float] | None = None
    ) -> None:
        """Put them together.

        Args:
            sources: by name, at least one, none of them empty.
            weights: of every source, positive; None: by their numbers of videos.

        Raises:
            UserError: weights that do not fit the sources, or sources that bring an order of their
                own (`ClipShards` with `shuffle_shards`).
        """
        if not sources or not all(len(source) for source in sources.values()):
            raise UserError(
                "A concatenation needs at least one source, and every source needs videos."
            )
        if weights is not None and (
            weights.keys() != sources.keys() or not all(w > 0 for w in weights.values())
        ):
            raise UserError(
                f"The weights of a concatenation are {dict(weights)}: give a positive one for "
                f"each of {', '.join(sources)}."
            )
        for name, source in sources.items():
            if source.blocks is not None:
                raise UserError(f"Source {name}: shuffle_shards cannot be used in a concatenation.")
        self.sources = dict(sources)
        lengths = [len(source) for source in sources.values()]
        if weights is None:
            slots = lengths
        else:
            shares = [weights[name] for name in sources]
            most = max(length / share for length, share in zip(lengths, shares, strict=True))
            slots = [round(share * most) for share in shares]
        self._names = list(sources)
        self._ends = np.cumsum(slots, dtype=np.int64)

    @classmethod
    def of_split(
        cls,
        sources: Mapping[str, Callable[..., Source]],
        weights: Mapping[str, float] | None,
        split: Literal["train", "val"],
    ) -> ConcatSource:
        """Build the sources of a split and put them together.

        Args:
            sources: by name, what makes a source of `split=`: in a config, nodes with
                `_partial_: true`.
            weights: see the class.
            split: "train" or "val".

        Raises:
            UserError: as the class, or a source that is not to be built here.
        """
        if not sources:
            raise UserError(
                "data.sources is empty: name the sources to combine, as conf/data/mix.yaml shows."
            )
        made: dict[str, Source] = {}
        for name, make in sources.items():
            if not callable(make):
                raise UserError(
                    f"data.sources.{name} must have _target_, the class of a source, and "
                    "_partial_: true, so that it can be built for training and for validation."
                )
            try:
                made[name] = make(split=split)
            except UserError as error:
                raise UserError(f"Source {name}: {error}") from error
        return cls(made, weights)

    def __len__(self) -> int:
        """Number of videos of an epoch, those that are visited again included."""
        return int(self._ends[-1])

    @property
    def no_flow(self) -> str | None:
        for name, source in self.sources.items():
            if (reason := source.no_flow) is not None:
                return f"of source {name}, {reason}"
        return None

    @property
    def still(self) -> bool:
        return all(source.still for source in self.sources.values())

    def first_frame_only(self) -> ConcatSource:
        reduced = copy.copy(self)
        reduced.sources = {name: source.first_frame_only() for name, source in self.sources.items()}
        return reduced

    def name(self, index: int) -> str:
        name, source, place = self._find(index)
        return f"{name}/{source.name(place)}"

    def place(self, index: int) -> float | None:
        """Where video `index` stands in the divisions by names; None unless all sources have one.

        A video that an epoch visits several times has one place.
        """
        if not all(map(divided_by_name, self.sources.values())):
            return None
        _, source, place = self._find(index)
        return source.place(place)

    def info(self, index: int) -> VideoInfo:
        name, source, place = self._find(index)
        with _naming_source(name):
            info = source.info(place)

        def look_up_times() -> NDArray[np.float64] | None:
            with _naming_source(name):
                return info.times

        return dataclasses.replace(
            info,
            key=f"{name}/{info.key}",
            look_up_times=None if info.look_up_times is None else look_up_times,
        )

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames, with what their source knows; raises `ClipReadError`."""
        name, source, place = self._find(index)
        with _naming_source(name):
            clip = source.read(place, frame_indices)
        return dataclasses.replace(clip, key=f"{name}/{clip.key}")

    def _find(self, index: int) -> tuple[str, Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} videos, not {index}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        name = self._names[number]
        source = self.sources[name]
        first = int(self._ends[number - 1]) if number else 0
        return name, source, (index - first) % len(source)


@contextmanager
def _naming_source(name: str) -> Iterator[None]:
    try:
        yield
    except ClipReadError as error:
        error.file = f"{name}/{error.file}"
        raise

"""Videos to validate on where those that were held out cannot be used: others are held out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.reader import ClipReader, Fault, nothing_readable
from selfsup_motion.data.source import Source, VideoInfo, divided_by_name
from selfsup_motion.errors import BadFilesError, UserError

log = logging.getLogger(__name__)

MAX_TRIES = 10
"""Videos that are looked into, for each one that is needed."""


class Part(Source):
    """Some of the videos of a source, as a source."""

    def __init__(self, source: Source, chosen: Sequence[int]) -> None:
        self._source = source
        self._chosen = np.asarray(chosen, np.int64)

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def no_flow(self) -> str | None:
        return self._source.no_flow

    @property
    def still(self) -> bool:
        return self._source.still

    @property
    def blocks(self) -> tuple[NDArray[np.int64], int] | None:
        blocks = self._source.blocks
        return None if blocks is None else (blocks[0][self._chosen], blocks[1])

    def first_frame_only(self) -> Part:
        reduced = copy.copy(self)
        reduced._source = self._source.first_frame_only()
        return reduced

    def name(self, index: int) -> str:
        return self._source.name(int(self._chosen[index]))

    def info(self, index: int) -> VideoInfo:
        return self._source.info(int(self._chosen[index]))

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        return self._source.read(int(self._chosen[index]), frame_indices)


@dataclass(frozen=True)
class Chosen:
    """Videos of one of the two sources.

    Attributes:
        side: 0 for the source of training, 1 for that of validation.
        videos: indices in it.
    """

    side: int
    videos: list[int]


@dataclass(frozen=True)
class Choice:
    """Which videos are trained on and which are validated on.

    Attributes:
        tried: videos that were looked into, and what is wrong with them.
        part: where they belong.
        train: to train on; None: leave both sources as they are.
        val: to validate on.
        error: why nothing can be chosen.
    """

    tried: list[tuple[int, Fault | None]] = field(default_factory=list)
    part: Literal["train", "val"] = "val"
    train: Chosen | None = None
    val: Chosen | None = None
    error: UserError | None = None

    def log(self, val: Source) -> None:
        """Log what is done instead of what the settings say."""
        if self.train == self.val:
            log.warning(
                "Only one video can be used, %s. It is used for training and validation: set "
                "data.val_root for more than a trial.",
                val.name(0),
            )
            return
        names = [val.name(index) for index in range(min(3, len(val)))]
        log.warning(
            "None of the videos that were held out (%d) can be used; held out instead: %s%s.",
            len(self.tried), ", ".join(names), ", …" if len(val) > 3 else "",
        )  # fmt: skip


def choose(train: ClipReader, val: ClipReader) -> Choice:
    """Find a validation clip that can be read, among other videos if need be.

    Args:
        train: reads the videos to train on.
        val: reads those to validate on.
    """
    total = len(val.source)
    videos = np.linspace(0, total - 1, min(total, MAX_TRIES)).round().astype(int).tolist()
    tried: list[tuple[int, Fault | None]] = []
    try:
        if any(_readable(val, video, tried) for video in videos):
            if len(train.source) == total == 1 and _divided(train, val):
                return _of_two(train, tried)
            return Choice(tried)
        if len(videos) == total and _divided(train, val):
            others = ClipReader(train.source, val.sampler, val.view, val.seed, replace=False)
            held_out = _next_by_name(others, len(np.unique(_places(val.source))))
            rest = sorted({*range(len(train.source))} - {*held_out})
            if held_out:
                return Choice(tried, "val", Chosen(0, rest or held_out), Chosen(0, held_out))
    except UserError as error:
        return Choice(error=error)
    reasons = [fault.message for _, fault in tried if fault is not None]
    return Choice(error=BadFilesError(nothing_readable(total, reasons, "validation ")))


def _divided(train: ClipReader, val: ClipReader) -> bool:
    return divided_by_name(train.source) and divided_by_name(val.source)


def _of_two(train: ClipReader, val_tried: list[tuple[int, Fault | None]]) -> Choice:
    """One video on each side: the one that is held out if the other cannot be used."""
    tried: list[tuple[int, Fault | None]] = []
    reader = ClipReader(train.source, train.sampler, train.view, train.seed, replace=False)
    if _readable(reader, 0, tried):
        return Choice(val_tried)
    return Choice(tried, "train", Chosen(1, [0]), Chosen(1, [0]))


def _next_by_name(reader: ClipReader, wanted: int) -> list[int]:
    """Videos of the training side whose names come next and that can be used; none may be left.

    As many as are wanted (a folder of frame pairs counts as one), unless training would keep less
    than half of its own.
    """
    places = _places(reader.source)
    # what has one place belongs together: a folder of frame pairs, a video that is visited twice
    groups = [np.flatnonzero(places == value).tolist() for value in np.unique(places)]
    if len(groups) == 1:
        groups = [[index] for index in groups[0]]
    wanted = max(1, min(wanted, len(groups) // 2))
    held_out: list[list[int]] = []
    for group in groups[: wanted * MAX_TRIES]:
        if any(_readable(reader, index, []) for index in group[:MAX_TRIES]):
            held_out.append(group)
        if len(held_out) == wanted:
            break
    return sorted(index for group in held_out for index in group)


def _places(source: Source) -> NDArray[np.float64]:
    """(N,) where the videos stand in the division by names."""
    return np.array([source.place(index) for index in range(len(source))], np.float64)


def _readable(reader: ClipReader, video: int, tried: list[tuple[int, Fault | None]]) -> bool:
    """Whether the first clip of a video can be made."""
    first = video * reader.sampler.clips_per_video
    return reader.sample(0, first, tried) is not None

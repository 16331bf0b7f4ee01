"""From (epoch, index) to one sample or one batch: runs in the loader's workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data.loading.rng import CLIP_STREAM, REPLACEMENT_STREAM, sample_rng
from selfsup_motion.data.loading.sampling import ClipSampler
from selfsup_motion.data.loading.watch import ReadingBoard
from selfsup_motion.data.source import Source
from selfsup_motion.data.view import View
from selfsup_motion.errors import BadFilesError, ClipReadError, UserError

Batch = dict[str, Any]
"""Tensors stacked along a new first dimension, `key`: list[str], and beside `flow`,
`flow_origin`: list[str] (see `Clip`)."""
Draw = tuple[int, int]
"""(epoch, index) of a sample."""

MAX_TRIES = 10
"""Videos tried for one sample before the data set counts as unreadable."""


@dataclass(frozen=True)
class Fault:
    """Why a video could not be read; a `ClipReadError` without what its traceback keeps alive."""

    file: str
    reason: str
    message: str


@dataclass(frozen=True)
class Delivery:
    """What a worker sends for one batch."""

    batch: Batch | None
    """None if `error` says why, or if every sample was left out."""
    tried: list[tuple[int, Fault | None]]
    """(video index, why it could not be read or None) of every video touched."""
    draws: list[Draw] = field(default_factory=list)
    """What the batch is made of, in its order: those asked for without those left out."""
    error: UserError | None = None

    def pin_memory(self) -> Delivery:
        if self.batch is not None:
            for name, value in self.batch.items():
                if isinstance(value, Tensor):
                    self.batch[name] = value.pin_memory()
        return self


class ClipReader:
    """All samples of one epoch, addressed by (epoch, index); a map-style PyTorch data set."""

    def __init__(
        self,
        source: Source,
        sampler: ClipSampler,
        view: View,
        seed: int,
        board: ReadingBoard | None = None,
        *,
        replace: bool = True,
    ) -> None:
        """Describe the samples.

        Args:
            source: of the videos.
            sampler: chooses the frames of a clip.
            view: makes a sample of a clip.
            seed: of the samples' randomness.
            board: takes down which video is being read.
            replace: take another video for one that cannot be read, which training does; without,
                its samples are left out, so that what is measured is measured on each sample once.
        """
        self.source = source
        self.board = board or ReadingBoard(0)
        self.sampler = sampler
        self.view = view
        self.seed = seed
        self.replace = replace

    def __len__(self) -> int:
        return len(self.source) * self.sampler.clips_per_video

    @property
    def blocks(self) -> tuple[NDArray[np.int64], int] | None:
        """Block of each sample and how many to mix, if the source has any (see `TrainOrder`)."""
        blocks = self.source.blocks
        if blocks is None:
            return None
        return np.repeat(blocks[0], self.sampler.clips_per_video), blocks[1]

    def __getitems__(self, draws: Sequence[Draw]) -> Delivery:
        """Make a batch; errors of the data travel in the result, because an exception raised in a
        worker would reach the user as a worker's traceback."""
        tried: list[tuple[int, Fault | None]] = []
        try:
            made = [(draw, self.sample(*draw, tried)) for draw in draws]
        except UserError as error:
            return Delivery(None, tried, error=error)
        kept = [(draw, *sample) for draw, sample in made if sample is not None]
        if not kept:
            return Delivery(None, tried)
        good, keys, samples = (list(column) for column in zip(*kept, strict=True))
        batch: Batch = self.view.collate(samples)
        return Delivery({**batch, "key": keys}, tried, good)

    def sample(
        self, epoch: int, index: int, tried: list[tuple[int, Fault | None]]
    ) -> tuple[str, dict[str, Any]] | None:
        """Make one sample, with `replace` from another video if its own is unreadable.

        The replacement is drawn from the sample's own randomness: it is the same at every run.

        Args:
            epoch: selects the randomness together with `index`.
            index: 0 ≤ index < len(self).
            tried: takes a record of each video touched.

        Returns:
            The video's key and the view's output; None if the sample is left out.

        Raises:
            BadFilesError: none of up to `MAX_TRIES` videos can be read.
        """
        rng = sample_rng(self.seed, epoch, index, CLIP_STREAM)
        video, clip_number = divmod(index, self.sampler.clips_per_video)
        replacements: np.random.Generator | None = None
        failures: dict[int, str] = {}
        while True:
            try:
                with self.board.reading(video):
                    frames = self.sampler(self.source.info(video), rng, clip_number)
                    clip = self.source.read(video, frames)
            except ClipReadError as error:
                failures[video] = str(error)
                tried.append((video, Fault(error.file, error.reason, str(error))))
            else:
                tried.append((video, None))
                sample: dict[str, Any] = self.view(clip, rng)
                if "flow" in sample:  # for people: what the flow can be called
                    sample = {**sample, "flow_origin": clip.flow_origin}
                return clip.key, sample
            if not self.replace:
                return None
            if len(failures) >= min(MAX_TRIES, len(self.source)):
                raise BadFilesError(nothing_readable(len(self.source), list(failures.values())))
            if replacements is None:
                replacements = sample_rng(self.seed, epoch, index, REPLACEMENT_STREAM)
            while video in failures:
                video = int(replacements.integers(len(self.source)))


def nothing_readable(total: int, reasons: Sequence[str], kind: str = "") -> str:
    """A sentence for a set of `total` videos of which none of those tried can be used.

    Args:
        total: videos of the set.
        reasons: a sentence for each video tried.
        kind: of the videos, as an adjective with a space behind it ("validation ").
    """
    if total == 1:
        which = f"The only {kind}video cannot be used"
    elif len(reasons) == total:
        which = f"None of the {total} {kind}videos can be used"
    else:
        tried = len(reasons)
        which = f"{tried} of {tried} {kind}videos drawn from {total} cannot be used"
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return f"{which}: {' '.join(reasons[:3])}{more}"


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Read in this process as a worker would: last digits depend on the number of threads.

    OpenCV keeps to one thread from then on: if this process was forked (strategy=ddp_fork, or
    ddp_notebook), it would wait for its parent's threads for ever when it is given more again.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def prepare_worker(worker: int) -> None:
    """Keep a worker on its one core, and alive while the training process takes its leave.

    Ctrl-C, and SLURM's SIGTERM, reach all processes at once. The training process finishes its
    step and saves; a worker that died meanwhile would end it with an error. Workers therefore
    leave Ctrl-C and one SIGTERM to their parent, whose end is theirs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    torch.set_num_threads(1)
    # 0, not 1: in a forked child, 1 makes OpenCV join the parent's pool threads, which hangs
    cv2.setNumThreads(0)

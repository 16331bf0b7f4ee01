"""Flow between many frames of one video, by DIS or, batched on the device, by RAFT."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from selfsup_motion.data.flow.estimation import DISFlow
from selfsup_motion.data.preparation.inputs import Flow, Image
from selfsup_motion.errors import UserError

EstimatorName = Literal["dis", "raft_small", "raft_large"]

_T = TypeVar("_T")


class PairEstimator(Protocol):
    """Estimates the flow of pairs of frames of one size."""

    batch_size: int
    """Pairs that it likes to be given at a time."""

    def __call__(self, first: Sequence[Image], second: Sequence[Image]) -> list[Flow]:
        """Flow from each first frame to its second one."""
        ...

    def settings(self) -> list[Any]:
        """What the flow depends on."""
        ...


def make_estimator(
    name: EstimatorName, *, preset: str, check: bool, weights: str | None, batch_size: int
) -> PairEstimator:
    """The estimator of a `prepare.flow` option.

    Args:
        name: "dis", "raft_small" or "raft_large".
        preset: of DIS.
        check: mark as unknown where forward and backward flow disagree.
        weights: of RAFT, see `RaftFlow`.
        batch_size: pairs that RAFT gets at a time.

    Raises:
        UserError: there is no such estimator, or it has no weights.
    """
    if name == "dis":
        return DisPairs(DISFlow(preset, check))  # type: ignore[arg-type]  # it refuses others
    if name in ("raft_small", "raft_large"):
        if batch_size < 1:
            raise UserError(f"prepare.flow_batch must be at least 1, got {batch_size}.")
        return RaftPairs(name, weights, check, batch_size)
    raise UserError(f"prepare.flow={name} is unknown: choose dis, raft_small or raft_large.")


class DisPairs:
    """`DISFlow`, one pair after the other."""

    batch_size = 1

    def __init__(self, flow: DISFlow) -> None:
        self._flow = flow

    def __call__(self, first: Sequence[Image], second: Sequence[Image]) -> list[Flow]:
        """Flow from each first frame to its second one."""
        found: list[Flow] = []
        for pair in zip(first, second, strict=True):
            flow, valid = self._flow(np.stack(pair))
            found.append((flow[0], None if valid is None else valid[0]))
        return found

    def settings(self) -> list[Any]:
        """Preset and check."""
        return ["dis", self._flow.preset, self._flow.check]


class RaftPairs:
    """`RaftFlow` on a GPU, if there is one, else on the CPU.

    The network is loaded here, where a mistake is told before anything is done, and taken to its
    device in the worker: a GPU that was used before a process is forked is lost to the new one.
    """

    def __init__(self, name: Any, weights: str | None, check: bool, batch_size: int) -> None:
        from selfsup_motion.data.flow.device import RaftFlow

        self.batch_size = batch_size
        self._raft = RaftFlow(name, weights, check=check, group="prepare")
        self._settings = [name, check, _digest(self._raft.weights)]
        self._device: str | None = None

    def __call__(self, first: Sequence[Image], second: Sequence[Image]) -> list[Flow]:
        """Flow from each first frame to its second one."""
        import torch

        if self._device is None:
            torch.set_num_threads(1)  # the work is shared by processes
            count = torch.cuda.device_count()
            self._device = f"cuda:{os.getpid() % count}" if count else "cpu"
        images = [
            torch.from_numpy(np.stack(frames)).to(self._device).permute(0, 3, 1, 2)
            for frames in (first, second)
        ]
        flow, valid = self._raft(*images)
        known = valid.cpu().numpy() if self._raft.check else [None] * len(first)
        return list(zip(flow.cpu().numpy(), known, strict=True))

    def settings(self) -> list[Any]:
        """Network, check and weights."""
        return self._settings


def pairs_at(
    images: Iterable[Image], strides: Sequence[int]
) -> Iterator[tuple[int, int, Image, Image]]:
    """Yield (number, number, frame, frame) of all frames `strides` apart, in bounded memory."""
    window: deque[Image] = deque(maxlen=max(strides) + 1)
    for number, image in enumerate(images):
        window.append(image)
        for stride in strides:
            if stride <= number:
                yield number - stride, number, window[-1 - stride], image


def with_flow(
    images: Iterable[Image], estimator: PairEstimator
) -> Iterator[tuple[Image, Flow | None]]:
    """Yield each frame with the flow to it from the frame before; None for the first."""
    before: Image | None = None
    for some in batched(images, estimator.batch_size):
        first = some[:-1] if before is None else [before, *some[:-1]]
        second = some[1:] if before is None else some
        flow: list[Flow | None] = [None] if before is None else []
        if second:
            flow += estimator(first, second)
        yield from zip(some, flow, strict=True)
        before = some[-1]


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in lists of `size`; the last one may be shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=4).hexdigest()

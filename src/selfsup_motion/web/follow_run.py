"""What is followed through a video of a session: what was found so far, and where to go on.

Results are files, one a frame. In memory are a few states of the engine, from which frames can be
found again after a correction: as many as fit into a fixed number of bytes, whatever the length.
They are without the features of earlier frames, nearly all of a state's bytes: a handful of frames
is encoded again where one goes on from there.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data.reading.masks import VOID, Ids, read_ids, write_mask
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.object_starts import new_objects, object_starts
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.tracking import ids_of
from selfsup_motion.tasks.propagation.tracks import MaskTrack, PointTrack
from selfsup_motion.web.free_memory import give_back
from selfsup_motion.web.refusals import Refusal

MOST_POINTS = 64
SIGMA = 0.5
"""As conf/propagate.yaml has it."""
_STATE_BYTES = 32 << 20
_SPACING = 8
"""Frames between two states at first."""

Keys = Mapping[int, NDArray[np.generic]]


@dataclass(frozen=True)
class MaskKeys:
    """Masks that somebody has painted, (H, W) uint8 by the numbers of their frames.

    Attributes:
        starts: in which objects start; background elsewhere.
        corrections: see `follow_masks`.
    """

    starts: dict[int, Ids]
    corrections: dict[int, Ids]

    @classmethod
    def of(cls, painted: Mapping[int, tuple[Ids, bool]]) -> MaskKeys:
        """Of masks by frame, each with whether it tells all of its frame."""
        masks = {time: mask for time, (mask, _) in sorted(painted.items())}
        starts = object_starts(masks)
        given = {time: new_objects(masks, time, starts) for time in masks}
        found = {t: mask for t, mask in given.items() if mask is not None and mask.any()}
        corrections = {}
        for time in list(masks)[1:]:
            mask, full = painted[time]
            again = found[time] if time in found else np.zeros_like(mask)
            if full:
                corrections[time] = mask
            elif (mask != again).any():
                corrections[time] = np.where(mask == 0, VOID, mask).astype(np.uint8)
        return cls(found, corrections)

    def at(self, time: int) -> tuple[bytes, bytes]:
        """To be compared."""
        return tuple(  # type: ignore[return-value]
            keys[time].tobytes() if time in keys else b""
            for keys in (self.starts, self.corrections)
        )

    @property
    def times(self) -> set[int]:
        """Of the frames."""
        return {*self.starts, *self.corrections}

    @property
    def ids(self) -> Ids:
        """Of all objects, with 0."""
        return ids_of(np.unique(m) for m in (*self.starts.values(), *self.corrections.values()))


@dataclass(frozen=True)
class PointKeys:
    """Points that somebody has placed: (K, 2) x, y by the numbers of frames, nan where not."""

    places: dict[int, NDArray[np.float64]]

    def at(self, time: int) -> bytes:
        """To be compared; a point that is still to come changes nothing."""
        rows = self.places.get(time)
        if rows is None:
            return b""
        known = np.isfinite(rows).all(1)
        return np.flatnonzero(known).tobytes() + rows[known].tobytes()

    @property
    def times(self) -> set[int]:
        """Of the frames."""
        return set(self.places)

    @property
    def count(self) -> int:
        """K."""
        return max(len(rows) for rows in self.places.values())


class Run:
    """Objects or points of a video, as far as they are followed. Hold `lock` for each call.

    Args:
        identity: of what it depends on besides the keys.
        encoder: makes the features.
        propagator: copies the labels.
        folder: for the results; made here.
        size: (height, width) of the frames.
        frames: their number.
    """

    def __init__(
        self,
        identity: tuple[object, ...],
        encoder: FrameEncoder,
        propagator: LabelPropagator | None,
        folder: Path,
        size: tuple[int, int],
        frames: int,
    ) -> None:
        self.identity, self.folder, self.frames, self.size = identity, folder, frames, size
        self.lock = threading.Lock()
        self.keys: MaskKeys | PointKeys | None = None
        self.first = self.done = self._time = 0
        self.turn: object = None
        self._encoder, self._propagator = encoder, propagator
        self._states: dict[int, MaskTrack | PointTrack] = {}
        self._track: MaskTrack | PointTrack | None = None
        self._spacing = _SPACING
        folder.mkdir()

    def begin(self, keys: MaskKeys | PointKeys) -> tuple[int, int]:
        """Take other keys.

        Returns:
            The frame to go on with, and the first that may change by that.
        """
        self.turn = object()
        before: set[int] = set() if self.keys is None else self.keys.times
        changed = [
            time
            for time in before | keys.times
            if self.keys is None or self.keys.at(time) != keys.at(time)
        ]
        again = min([self.done, *changed])
        if self._track is not None:
            self._states[self._time] = self._track
        self._states = {time: state for time, state in self._states.items() if time <= again}
        self.keys, self.first = keys, min(keys.times)
        self._track = None
        if self._states:
            self._time = max(self._states)
            self._track = self._fork(self._states[self._time])
            self._states[self._time] = self._track.lightened()
            self.done = again
        else:
            self._time = self.done = again = self.first
        return self._time, again

    @property
    def wanted(self) -> list[int]:
        """The frames that `refill` wants before the next `step`, ascending."""
        ago = set() if self._track is None else self._track.wanted
        return sorted(self._time - 1 - before for before in ago)

    def refill(self, frames: Mapping[int, NDArray[np.uint8]]) -> None:
        """Have the features of frames that were followed before, (H, W, 3) by their numbers."""
        if self._track is not None:
            last = self._time - 1
            self._track.refill({last - time: _pixels(frame) for time, frame in frames.items()})

    def step(self, time: int, frame: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Find and keep what is in the next frame, (H, W, 3): ids (H, W) or points (K, 2)."""
        self._keep_state(time)
        pixels = _pixels(frame)
        found: NDArray[np.generic]
        if isinstance(self.keys, MaskKeys):
            if self._track is None:
                self._track = MaskTrack(self._encoder, self._own(), self.keys.ids, self.size)
            assert isinstance(self._track, MaskTrack)
            given, corrected = self.keys.starts.get(time), self.keys.corrections.get(time)
            ids = self._track.next(pixels, given, corrected)
            write_mask(self.folder / f"{time}.png", ids)
            found = ids
        else:
            assert self.keys is not None
            if self._track is None:
                count = self.keys.count
                self._track = PointTrack(self._encoder, self._own(), count, self.size, SIGMA)
            assert isinstance(self._track, PointTrack)
            found = self._track.next(pixels, self.keys.places.get(time))
            np.save(self.folder / f"{time}.npy", found)
        self._time = time + 1
        self.done = max(self.done, time + 1)
        return found

    def masks(self, time: int) -> Ids | None:
        """What was found in a frame; None: it was not reached."""
        if not self.first <= time < self.done or not isinstance(self.keys, MaskKeys):
            return None
        path = self.folder / f"{time}.png"
        if not path.exists():
            raise Refusal("What was found in this frame is not there any more: follow again.", 404)
        return read_ids(path)

    def points(self, time: int) -> NDArray[np.float64] | None:
        """What was found in a frame; None: it was not reached."""
        if not self.first <= time < self.done or not isinstance(self.keys, PointKeys):
            return None
        rows: NDArray[np.float64] = np.load(self.folder / f"{time}.npy", allow_pickle=False)
        more = np.full((self.keys.count - len(rows), 2), -1.0)
        return np.concatenate([rows, more])[: self.keys.count]

    def close(self) -> None:
        """Remove its files."""
        self.turn, self._states, self._track = None, {}, None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _own(self) -> LabelPropagator | None:
        return None if self._propagator is None else self._propagator.changed()

    def _fork(self, state: MaskTrack | PointTrack) -> MaskTrack | PointTrack:
        """One that goes on from there, with all objects or points that there are now."""
        if isinstance(state, MaskTrack):
            own = self.keys.ids if isinstance(self.keys, MaskKeys) else ()
            return state.fork(ids_of([state.ids, own]))
        return state.fork(max(state.count, getattr(self.keys, "count", 0)))

    def _keep_state(self, time: int) -> None:
        """Keep the state before a frame, and fewer of the others if they take too much."""
        if self._track is None or time % self._spacing or time in self._states:
            return
        self._states[time] = self._track.lightened()
        while len(self._states) > 1 and self._bytes() > _STATE_BYTES:
            self._spacing *= 2
            self._states = {t: s for t, s in self._states.items() if t % self._spacing == 0}
            if self._spacing > self.frames:
                return
        give_back()  # states lie between what the steps have freed

    def _bytes(self) -> int:
        return sum(state.bytes_kept for state in self._states.values())


def _pixels(frame: NDArray[np.uint8]) -> Tensor:
    """(3, H, W) of (H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))

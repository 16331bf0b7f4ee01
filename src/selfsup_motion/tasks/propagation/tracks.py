"""Objects and points through a video, one frame after the other, with corrections on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data.reading.masks import VOID, Ids
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.keypoints import Points, gaussian_maps, read_points
from selfsup_motion.tasks.propagation.label_cells import (
    cells_to_labels,
    pixel_labels,
    reduce_labels,
)
from selfsup_motion.tasks.propagation.propagation_settings import LabelResize
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.shared_features import features_of


class _Track:
    """What follows something through a video: an encoder, and a propagator at the latest frame.

    Args:
        encoder: makes the features.
        propagator: copies the labels, for this track alone; None: they stay in their place.
        size: (height, width) of the frames.
    """

    def __init__(
        self, encoder: FrameEncoder, propagator: LabelPropagator | None, size: tuple[int, int]
    ) -> None:
        self._encoder, self._propagator, self._size = encoder, propagator, size
        self._seen = size if propagator is None else propagator.size.of(size)
        self._scales = () if propagator is None else propagator.size.more_scales

    @property
    def bytes_kept(self) -> int:
        """Memory of what is kept of earlier frames."""
        return 0 if self._propagator is None else self._propagator.bytes_kept

    @property
    def wanted(self) -> set[int]:
        """The frames that `refill` wants; 0 is the last one, 1 the one before it."""
        return set() if self._propagator is None else self._propagator.wanted

    def refill(self, frames: Mapping[int, Tensor]) -> None:
        """Have the features of earlier frames again.

        Args:
            frames: (3, H, W) as they were given to `next`, of those that are `wanted`; it may take
                several calls for all.
        """
        if self._propagator is not None:
            self._propagator.refill({ago: self._features(f) for ago, f in frames.items()})

    def _lighten(self) -> None:
        """Drop the features of earlier frames, which take most of the memory."""
        if self._propagator is not None:
            self._propagator = self._propagator.lightened()

    def _features(self, frame: Tensor) -> Tensor:
        return features_of(self._encoder, frame, self._seen, self._scales)


class MaskTrack(_Track):
    """Objects that are followed through the frames of a video.

    Nothing is computed before the first of them starts.

    Args:
        encoder: makes the features.
        propagator: copies the labels, for this track alone; None: they stay in their place.
        ids: of all objects, ascending, with 0 for the background.
        size: (height, width) of the frames.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        propagator: LabelPropagator | None,
        ids: Ids,
        size: tuple[int, int],
    ) -> None:
        super().__init__(encoder, propagator, size)
        self._ids = ids
        self._known: set[int] = set()
        self._last = np.zeros(size, np.uint8)

    @property
    def ids(self) -> Ids:
        """Of all objects, ascending, with 0."""
        return self._ids

    @property
    def bytes_kept(self) -> int:
        return super().bytes_kept + self._last.nbytes

    def fork(self, ids: Ids) -> MaskTrack:
        """Another one that goes on from the same frame.

        Args:
            ids: of all objects that it will have: its own and new ones, ascending, with 0.
        """
        places = np.searchsorted(ids, self._ids).tolist()
        made = self._propagator and self._propagator.fork(places, len(ids))
        track = MaskTrack(self._encoder, made, ids, self._size)
        track._known, track._last = set(self._known), self._last
        return track

    def lightened(self) -> MaskTrack:
        """Another one that stands after the same frame and takes little memory: it has no features
        of earlier frames. `refill` it before its next frame."""
        track = self.fork(self._ids)
        track._lighten()
        return track

    def next(self, frame: Tensor, given: Ids | None = None, corrected: Ids | None = None) -> Ids:
        """The objects of the next frame.

        Args:
            frame: (3, H, W) RGB, uint8 or float in [0, 255].
            given: (H, W) ids of objects that start in it, which lie over those that are found.
            corrected: see `correct`. One that says all of the frame takes the place of the first
                frame: what was found before it does not count any more.

        Returns:
            (H, W) uint8 ids.
        """
        if corrected is not None and not (corrected == VOID).any():
            self._last = corrected
            self._know(corrected)
            self._start(frame)
        elif not self._known:
            new = self._last if given is None else given
            self._last = new if corrected is None else correct(new, corrected)
            self._know(self._last)
            self._start(frame)
        elif self._propagator is None:
            found = self._last if given is None else np.where(given > 0, given, self._last)
            self._last = found if corrected is None else correct(found, corrected)
        else:
            self._last = self._step(self._propagator, frame, given, corrected)
        return self._last

    def _start(self, frame: Tensor) -> None:
        """Begin with a frame whose objects are known."""
        if self._known and self._propagator is not None:
            features = self._features(frame)
            self._propagator.start(features, self._cells(self._index(self._last, features.device)))

    def _step(
        self, propagator: LabelPropagator, frame: Tensor, given: Ids | None, corrected: Ids | None
    ) -> Ids:
        stride, count = self._encoder.stride, len(self._ids)
        features = self._features(frame)
        soft = propagator.step(features)
        index = pixel_labels(
            soft, stride, self._seen, self._size,
            pixels=propagator.pixels, stretch=propagator.min_max == "output",
        )  # fmt: skip
        new = torch.zeros(self._size, dtype=torch.int64, device=features.device)
        starting: set[int] = set()
        if given is not None:
            new = self._index(given, features.device)
            index = torch.where(new > 0, new, index)
            starting = self._know(given)
        found: Ids = self._ids[index.cpu().numpy()]
        if corrected is not None:
            found = correct(found, corrected)
            starting |= self._know(corrected)
        if propagator.hard:
            if corrected is not None:
                index = self._index(found, features.device)
                if self._seen != self._size:
                    index = _nearest(index, self._seen)
            elif self._seen != self._size:
                index = cells_to_labels(soft, stride)[: self._seen[0], : self._seen[1]]
                small = _nearest(new, self._seen)
                index = torch.where(small > 0, small, index)
            soft = reduce_labels(index, count, stride, propagator.label_resize)
        else:
            if given is not None:
                soft = with_new(soft, self._cells(new))
            if corrected is not None:
                soft = self._with_corrected(soft, corrected)
        propagator.store(soft, np.searchsorted(self._ids, sorted(starting)).tolist())
        return found

    def _with_corrected(self, soft: Tensor, corrected: Ids) -> Tensor:
        """Soft labels of a frame, where a mask says what there is."""
        said = torch.from_numpy(corrected != VOID).long().to(soft.device)
        known = np.where(corrected == VOID, 0, corrected).astype(np.uint8)
        shown = np.searchsorted(self._ids, _objects(known)).tolist()
        soft = soft.clone()
        soft[0] += soft[shown].sum(0)
        soft[shown] = 0
        resize, stride = self._resize, self._encoder.stride
        share = reduce_labels(said, 2, stride, resize, self._seen)[1:]
        told = self._cells(self._index(known, soft.device))
        told[0] -= 1 - share[0]
        return (1 - share) * soft + told.clamp(min=0)

    def _know(self, ids: Ids) -> set[int]:
        """The objects that a mask shows, which are known from now on."""
        shown = set(_objects(np.where(ids == VOID, 0, ids)))
        self._known |= shown
        return shown

    def _index(self, ids: Ids, device: torch.device) -> Tensor:
        return torch.from_numpy(np.searchsorted(self._ids, ids)).to(device)

    def _cells(self, index: Tensor) -> Tensor:
        count, stride = len(self._ids), self._encoder.stride
        return reduce_labels(index, count, stride, self._resize, self._seen)

    @property
    def _resize(self) -> LabelResize:
        assert self._propagator is not None
        return self._propagator.label_resize


class PointTrack(_Track):
    """Points that are followed through the frames of a video.

    Nothing is computed before the first of them begins.

    Args:
        encoder: makes the features.
        propagator: copies the labels, for this track alone; None: they stay in their place.
        count: of points, K.
        size: (height, width) of the frames.
        sigma: of the dots that stand for points, in cells of the features.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        propagator: LabelPropagator | None,
        count: int,
        size: tuple[int, int],
        sigma: float,
    ) -> None:
        super().__init__(encoder, propagator, size)
        self._sigma = sigma
        self._scale = np.array([self._seen[1] / size[1], self._seen[0] / size[0]]) / encoder.stride
        self._last: Points = np.full((count, 2), -1.0)
        self._started = False

    @property
    def count(self) -> int:
        """Of points."""
        return len(self._last)

    def fork(self, count: int) -> PointTrack:
        """Another one that goes on from the same frame, with `count` points: its own come first."""
        own = len(self._last)
        made = self._propagator and self._propagator.fork(range(own + 1), count + 1)
        track = PointTrack(self._encoder, made, count, self._size, self._sigma)
        track._last[:own], track._started = self._last, self._started
        return track

    def lightened(self) -> PointTrack:
        """Another one that stands after the same frame and takes little memory: it has no features
        of earlier frames. `refill` it before its next frame."""
        track = self.fork(self.count)
        track._lighten()
        return track

    def next(self, frame: Tensor, given: Points | None = None) -> Points:
        """The points of the next frame.

        Args:
            frame: (3, H, W) RGB, uint8 or float in [0, 255].
            given: x, y in pixels of the first points, up to K; nan where one is not known in this
                frame. None: none is.

        Returns:
            (K, 2) x, y in pixels; -1, -1 for a point that is lost or has not begun.
        """
        told = np.full(self._last.shape, np.nan)
        if given is not None:
            told[: len(given)] = given
        known = np.isfinite(told).all(1)
        if not self._started and given is None:
            return self._last
        if self._propagator is None:
            self._last = np.where(known[:, None], told, self._last)
        elif not self._started:
            features = self._features(frame)
            self._propagator.start(features, self._dots(told, features))
            self._last = np.where(known[:, None], told, -1.0)
        else:
            self._last = self._step(self._propagator, frame, told, known)
        self._started = True
        return self._last

    def _step(
        self, propagator: LabelPropagator, frame: Tensor, told: Points, known: NDArray[np.bool_]
    ) -> Points:
        features = self._features(frame)
        soft = propagator.step(features)
        found = read_points(soft.cpu())
        pixels = np.where(found < 0, -1.0, found / self._scale)
        places = (np.flatnonzero(known) + 1).tolist()
        if propagator.hard:
            kept = np.where(found[:, :1] < 0, np.nan, found)
            soft = self._dots_at(np.where(known[:, None], told * self._scale, kept), features)
        elif places:
            soft = soft.clone()
            soft[places] = self._dots(told, features)[places].to(soft.device)
        # what was found of them before is wrong
        propagator.forget(places)
        propagator.store(soft, places)
        return np.where(known[:, None], told, pixels)

    def _dots(self, points: Points, features: Tensor) -> Tensor:
        return self._dots_at(points * self._scale, features)

    def _dots_at(self, cells: Points, features: Tensor) -> Tensor:
        return gaussian_maps(cells, (features.shape[1], features.shape[2]), self._sigma)


def correct(found: Ids, corrected: Ids) -> Ids:
    """What was found in a frame, corrected by hand.

    Args:
        found: (H, W) ids.
        corrected: (H, W) ids that are true; void (255) where nothing is said: there it stays as
            found, but the objects that `corrected` shows are nowhere else.

    Returns:
        (H, W) uint8.
    """
    shown = _objects(np.where(corrected == VOID, 0, corrected))
    others = np.where(np.isin(found, shown), 0, found)
    return np.where(corrected == VOID, others, corrected).astype(np.uint8)


def with_new(soft: Tensor, new: Tensor) -> Tensor:
    """Soft labels of a frame (D, h, w), where those of objects that start in it take the place of
    what was found; `new` (D, h, w), with the background as label 0."""
    share = new[1:].sum(0, keepdim=True)
    return (1 - share) * soft + torch.cat([torch.zeros_like(share), new[1:]])


def _objects(ids: Ids) -> Sequence[int]:
    """The ids that a mask shows, without the background."""
    shown: list[int] = np.flatnonzero(np.bincount(ids.ravel())).tolist()
    return [number for number in shown if number]


def _nearest(index: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(index[None, None].float(), size, mode="nearest-exact")[0, 0].long()

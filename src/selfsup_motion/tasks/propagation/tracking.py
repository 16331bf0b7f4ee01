"""Masks and points through a video: frames in, labels out, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.data.reading.masks import Ids
from selfsup_motion.ops.pictures import Picture, as_tensor, grey_levels
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.choice import FittingPropagator, fitted
from selfsup_motion.tasks.propagation.default_encoder import default_encoder
from selfsup_motion.tasks.propagation.frame_size import resized
from selfsup_motion.tasks.propagation.keypoints import Points, gaussian_maps, read_points
from selfsup_motion.tasks.propagation.label_cells import (
    cells_to_labels,
    pixel_labels,
    reduce_labels,
)
from selfsup_motion.tasks.propagation.object_starts import new_objects, object_starts
from selfsup_motion.tasks.propagation.propagator import LabelPropagator


def follow_masks(
    encoder: nn.Module | None,
    propagator: LabelPropagator | None,
    frames: Iterable[Picture],
    mask: Ids | Mapping[int, Ids],
) -> Iterator[Ids]:
    """Follow objects from the frames on whose masks are given.

    Args:
        encoder: makes the features: a `FrameEncoder`, or what one is made of, for example a network
            of `load_encoder`. None: see `default_encoder`.
        propagator: copies the labels. None: what fits the encoder, as `propagator=auto` of
            `evaluate`.
        frames: RGB, uint8 or float in [0, 1], read one at a time: tensors or arrays (3, H, W),
            arrays (H, W, 3), or PIL images.
        mask: (H, W) uint8 of the first frame: any ids, 0 is the background. Or masks of several
            frames by their numbers: an object starts in the first of them that shows it, the others
            do not count for it.

    Yields:
        (H, W) uint8 ids for each frame; the objects that start in it are as in its mask.

    Raises:
        ValueError: mask and frames differ in size.
    """
    masks = mask if isinstance(mask, Mapping) else {0: mask}
    starts = object_starts(masks)
    ids = np.array(sorted({0}.union(*starts.values())), np.uint8)
    features_of, propagator = _made(encoder, propagator)
    track: _MaskTrack | None = None
    found: Ids | None = None
    for time, frame in enumerate(map(_pixels, frames)):
        size = frame.shape[1], frame.shape[2]
        if found is None:
            found = np.zeros(size, np.uint8)
        given = new_objects(masks, time, starts)
        for shape in (found.shape, size if given is None else given.shape):
            if shape != size:
                raise ValueError(f"frame {time} is {size}, the mask {shape} pixels")
        if propagator is not None:
            if track is None:
                track = _MaskTrack(features_of, propagator, ids, size)
            yield from track.next(frame, given)
        else:
            found = found if given is None else np.where(given > 0, given, found)
            yield found


class _MaskTrack:
    """Objects that are followed through the frames of a video."""

    def __init__(
        self, encoder: FrameEncoder, propagator: LabelPropagator, ids: Ids, size: tuple[int, int]
    ) -> None:
        self._encoder, self._propagator, self._ids, self._size = encoder, propagator, ids, size
        self._seen = propagator.size.of(size)
        self._started = False

    def next(self, frame: Tensor, given: Ids | None) -> Iterator[Ids]:
        """The ids of the next frame; `given` are those of the objects that start in it."""
        propagator, stride, count = self._propagator, self._encoder.stride, len(self._ids)
        features = _features(self._encoder, frame, self._seen)
        new = torch.zeros(self._size, dtype=torch.int64, device=features.device)
        if given is not None:
            new = torch.from_numpy(np.searchsorted(self._ids, given)).to(features.device)
        if not self._started:
            self._started = True
            yield np.zeros(self._size, np.uint8) if given is None else given
            propagator.start(features, self._cells(new, self._seen))
            return
        soft = propagator.step(features)
        index = pixel_labels(
            soft, stride, self._seen, self._size,
            pixels=propagator.pixels, stretch=propagator.min_max == "output",
        )  # fmt: skip
        index = torch.where(new > 0, new, index)
        yield self._ids[index.cpu().numpy()]
        if propagator.hard:
            if self._seen != self._size:
                index = cells_to_labels(soft, stride)[: self._seen[0], : self._seen[1]]
                index = _nearest(new, self._seen, index)
            soft = reduce_labels(index, count, stride, propagator.label_resize)
        elif given is not None:
            soft = with_new(soft, self._cells(new, self._seen))
        shown = np.zeros(0, np.uint8) if given is None else given
        starting = np.flatnonzero(np.isin(self._ids, shown) & (self._ids > 0))
        propagator.store(soft, starting.tolist())

    def _cells(self, index: Tensor, size: tuple[int, int]) -> Tensor:
        resize = self._propagator.label_resize
        return reduce_labels(index, len(self._ids), self._encoder.stride, resize, size)


def with_new(soft: Tensor, new: Tensor) -> Tensor:
    """Soft labels of a frame (D, h, w), where those of objects that start in it take the place of
    what was found; `new` (D, h, w), with the background as label 0."""
    share = new[1:].sum(0, keepdim=True)
    return (1 - share) * soft + torch.cat([torch.zeros_like(share), new[1:]])


def _nearest(new: Tensor, size: tuple[int, int], found: Tensor) -> Tensor:
    small = F.interpolate(new[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    return torch.where(small > 0, small, found)


def follow_points(
    encoder: nn.Module | None,
    propagator: LabelPropagator | None,
    frames: Iterable[Picture],
    points: Points,
    sigma: float,
) -> Iterator[Points]:
    """Follow points of the first frame.

    Args:
        encoder: see `follow_masks`.
        propagator: as of `follow_masks`.
        frames: see `follow_masks`.
        points: (K, 2) x, y in pixels of the first frame; nan: not there.
        sigma: of the dots that stand for points, in cells of the features.

    Yields:
        (K, 2) x, y in pixels for each frame, the first one's being `points`; -1, -1 for a point
        that is lost.
    """
    features_of, propagator = _made(encoder, propagator)
    stride = features_of.stride
    given = np.where(np.isfinite(points), points, -1.0)
    scale = np.ones(2)
    for time, frame in enumerate(map(_pixels, frames)):
        if time == 0:
            yield given
            if propagator is None:
                continue
            height, width = frame.shape[1:]
            seen = propagator.size.of((height, width))
            scale = np.array([seen[1] / width, seen[0] / height]) / stride
            features = _features(features_of, frame, seen)
            size = features.shape[1], features.shape[2]
            propagator.start(features, gaussian_maps(points * scale, size, sigma))
        elif propagator is None:
            yield given
        else:
            soft = propagator.step(_features(features_of, frame, seen))
            found = read_points(soft.cpu())
            if propagator.hard:
                known = np.where(found[:, :1] < 0, np.nan, found)
                soft = gaussian_maps(known, size, sigma)
            propagator.store(soft)
            yield np.where(found < 0, -1.0, found / scale)


def _made(
    encoder: nn.Module | None, propagator: LabelPropagator | None
) -> tuple[FrameEncoder, LabelPropagator | None]:
    """What labels are followed with; without a propagator if they stay in their place."""
    encoder = default_encoder() if encoder is None else encoder
    frames = encoder if isinstance(encoder, FrameEncoder) else FrameEncoder(encoder)
    chosen = FittingPropagator() if propagator is None else propagator
    return frames, fitted(chosen, frames.encoder, frames.layer, frames.stride).propagator


def _features(encoder: FrameEncoder, frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) of a frame (3, H, W) that is resized to `size` before."""
    features: Tensor = encoder(resized(frame.to(encoder.device)[None], size))
    return features[0]


def _pixels(frame: Picture) -> Tensor:
    """(3, H, W) in [0, 255]; uint8 stays, which is smaller to be copied to a device."""
    pixels = as_tensor(frame)
    return pixels if pixels.dtype == torch.uint8 else grey_levels(pixels)

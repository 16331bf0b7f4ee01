"""Masks and points through a video: frames in, labels out, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from selfsup_motion.data.reading.masks import VOID, Ids
from selfsup_motion.ops.pictures import Picture, as_tensor, grey_levels
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.choice import FittingPropagator, fitted
from selfsup_motion.tasks.propagation.default_encoder import default_encoder
from selfsup_motion.tasks.propagation.keypoints import Points
from selfsup_motion.tasks.propagation.object_starts import new_objects, object_starts
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.tracks import MaskTrack, PointTrack


def follow_masks(
    encoder: nn.Module | None,
    propagator: LabelPropagator | None,
    frames: Iterable[Picture],
    mask: Ids | Mapping[int, Ids],
    corrections: Mapping[int, Ids] | None = None,
) -> Iterator[Ids]:
    """Follow objects from the frames on whose masks are given.

    Args:
        encoder: makes the features: a `FrameEncoder`, or what one is made of, for example a network
            of `load_encoder`. None: see `default_encoder`.
        propagator: copies the labels. None: what fits the encoder, as `propagator=auto` of
            `evaluate`.
        frames: RGB, uint8 or float in [0, 1], read one at a time: tensors or arrays (3, H, W),
            arrays (H, W, 3), or PIL images.
        mask: (H, W) ids of the first frame, whole numbers from 1 to 254; 0 is the background, and
            so is 255, which stands for void. Or masks of several frames by their numbers: an object
            starts in the first of them that shows it, the others do not count for it.
        corrections: (H, W) uint8 of later frames by their numbers: what there really is, 255 where
            nothing is said; see `tracks.correct`. One without 255 takes the place of the first
            frame: frames after it are followed from it alone.

    Yields:
        (H, W) uint8 ids for each frame; the objects that start in it are as in its mask.

    Raises:
        ValueError: mask and frames differ in size, a mask holds no ids or only void, or is of a
            frame behind the last one.
    """
    masks = _without_void(mask if isinstance(mask, Mapping) else {0: mask})
    corrections = corrections or {}
    starts = object_starts(masks)
    ids = ids_of([*starts.values(), *map(np.unique, corrections.values())])
    features_of, propagator = _made(encoder, propagator)
    track: MaskTrack | None = None
    size: tuple[int, int] | None = None
    time = -1
    for time, frame in enumerate(map(_pixels, frames)):
        size = size or (frame.shape[1], frame.shape[2])
        given, corrected = new_objects(masks, time, starts), corrections.get(time)
        for array in (frame[0], given, corrected):
            if array is not None and tuple(array.shape) != size:
                raise ValueError(
                    f"frame {time}: the frames are {size}, a mask {tuple(array.shape)} pixels"
                )
        track = track or MaskTrack(features_of, propagator, ids, size)
        yield track.next(frame, given, corrected)
    _check_used({*masks, *corrections}, time + 1, "masks")


def ids_of(shown: Iterable[Iterable[int]]) -> Ids:
    """All ids of some masks, ascending, with 0 and without void."""
    return np.array(sorted({0}.union(*shown) - {VOID}), np.uint8)


def follow_points(
    encoder: nn.Module | None,
    propagator: LabelPropagator | None,
    frames: Iterable[Picture],
    points: Points | Mapping[int, Points],
    sigma: float,
) -> Iterator[Points]:
    """Follow points from the frames on in which they are given.

    Args:
        encoder: see `follow_masks`.
        propagator: as of `follow_masks`.
        frames: see `follow_masks`.
        points: (K, 2) x, y in pixels of the first frame; nan: not there. Or those of several frames
            by their numbers: a point begins in the first of them, the others correct it.
        sigma: of the dots that stand for points, in cells of the features.

    Yields:
        (K, 2) x, y in pixels for each frame, as given where they are; -1, -1 for a point that is
        lost or has not begun.

    Raises:
        ValueError: points of another shape or of a frame behind the last one, or a sigma that is
            not positive.
    """
    given = points if isinstance(points, Mapping) else {0: points}
    for time, own in given.items():
        if np.ndim(own) != 2 or np.shape(own)[1] != 2:
            raise ValueError(f"points must be (K, 2), those of frame {time} are {np.shape(own)}")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    count = max(map(len, given.values()), default=0)
    features_of, propagator = _made(encoder, propagator)
    track: PointTrack | None = None
    time = -1
    for time, frame in enumerate(map(_pixels, frames)):
        size = frame.shape[1], frame.shape[2]
        track = track or PointTrack(features_of, propagator, count, size, sigma)
        yield track.next(frame, given.get(time))
    _check_used(given, time + 1, "points")


def _without_void(masks: Mapping[int, Ids]) -> dict[int, Ids]:
    """Masks with void as background; at least one object, unless all are empty."""
    checked, void = {}, False
    for time, mask in masks.items():
        ids = np.asarray(mask)
        if ids.dtype.kind not in "biu" or (ids.size and not 0 <= ids.min() <= ids.max() <= VOID):
            raise ValueError(
                f"frame {time}: a mask has whole numbers from 0 to {VOID}, got {ids.dtype}"
                + (f" from {ids.min()} to {ids.max()}" if ids.size else "")
            )
        void |= bool((ids == VOID).any())
        checked[time] = np.where(ids == VOID, 0, ids).astype(np.uint8)
    if void and not any(ids.any() for ids in checked.values()):
        raise ValueError(
            f"the mask has no object: {VOID} stands for void; give an object an id from 1 to "
            f"{VOID - 1}"
        )
    return checked


def _check_used(times: Iterable[int], count: int, what: str) -> None:
    """Refuse what was given for a frame that did not come; `count` frames did."""
    if late := sorted(time for time in times if time >= count):
        raise ValueError(f"there are {what} of frame {late[0]}, but only {count} frames")


def _made(
    encoder: nn.Module | None, propagator: LabelPropagator | None
) -> tuple[FrameEncoder, LabelPropagator | None]:
    """What labels are followed with; without a propagator if they stay in their place."""
    encoder = default_encoder() if encoder is None else encoder
    frames = encoder if isinstance(encoder, FrameEncoder) else FrameEncoder(encoder)
    chosen = FittingPropagator() if propagator is None else propagator
    return frames, fitted(chosen, frames.encoder, frames.layer, frames.stride).propagator


def _pixels(frame: Picture) -> Tensor:
    """(3, H, W) in [0, 255]; uint8 stays, which is smaller to be copied to a device."""
    pixels = as_tensor(frame)
    return pixels if pixels.dtype == torch.uint8 else grey_levels(pixels)

"""Masks and points through a video: frames in, labels out, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
from selfsup_motion.tasks.propagation.propagator import LabelPropagator


def follow_masks(
    encoder: nn.Module | None,
    propagator: LabelPropagator | None,
    frames: Iterable[Picture],
    mask: NDArray[np.uint8],
) -> Iterator[NDArray[np.uint8]]:
    """Follow the objects of the first frame.

    Args:
        encoder: makes the features: a `FrameEncoder`, or what one is made of, for example a network
            of `load_encoder`. None: see `default_encoder`.
        propagator: copies the labels. None: what fits the encoder, as `propagator=auto` of
            `evaluate`.
        frames: RGB, uint8 or float in [0, 1], read one at a time: tensors or arrays (3, H, W),
            arrays (H, W, 3), or PIL images.
        mask: (H, W) uint8 of the first frame: any ids, 0 is the background.

    Yields:
        (H, W) uint8 ids for each frame, the first one's being `mask`.

    Raises:
        ValueError: mask and frames differ in size.
    """
    ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    ids = np.union1d([0], ids).astype(np.uint8)
    size = mask.shape[0], mask.shape[1]
    features_of, propagator = _made(encoder, propagator)
    count, stride = len(ids), features_of.stride
    for time, frame in enumerate(map(_pixels, frames)):
        if tuple(frame.shape[1:]) != size:
            raise ValueError(f"frame {time} is {tuple(frame.shape[1:])}, the mask {size} pixels")
        if time == 0:
            yield mask
            if propagator is None:
                continue
            seen = propagator.size.of(size)
            index = torch.from_numpy(np.searchsorted(ids, mask)).to(features_of.device)
            cells = reduce_labels(index, count, stride, propagator.label_resize, seen)
            propagator.start(_features(features_of, frame, seen), cells)
        elif propagator is None:
            yield mask
        else:
            soft = propagator.step(_features(features_of, frame, seen))
            index = pixel_labels(soft, stride, seen, size)
            yield ids[index.cpu().numpy()]
            if propagator.hard:
                if seen != size:
                    index = cells_to_labels(soft, stride)[: seen[0], : seen[1]]
                soft = reduce_labels(index, count, stride, propagator.label_resize)
            propagator.store(soft)


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

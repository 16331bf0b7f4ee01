"""Masks and points through a video: frames in, labels out, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsup_motion.models.color_encoder import NoMotion
from selfsup_motion.ops.label_cells import labels_to_cells
from selfsup_motion.ops.pictures import Picture, as_tensor, grey_levels
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.keypoints import Points, gaussian_maps, read_points
from selfsup_motion.tasks.propagation.propagator import LabelPropagator, LabelResize

_BAND_BYTES = 32 << 20


def follow_masks(
    encoder: nn.Module,
    propagator: LabelPropagator | None,
    frames: Iterable[Picture],
    mask: NDArray[np.uint8],
) -> Iterator[NDArray[np.uint8]]:
    """Follow the objects of the first frame.

    Args:
        encoder: makes the features: a `FrameEncoder`, or what one is made of, for example a network
            of `load_encoder`.
        propagator: copies the labels; not needed for `NoMotion`, whose labels stay in their place.
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
    features_of = _frame_encoder(encoder)
    count, stride = len(ids), features_of.stride
    propagator = _needed(propagator, features_of)
    for time, frame in enumerate(map(_pixels, frames)):
        if tuple(frame.shape[1:]) != size:
            raise ValueError(f"frame {time} is {tuple(frame.shape[1:])}, the mask {size} pixels")
        if time == 0:
            yield mask
            if propagator is None:
                continue
            index = torch.from_numpy(np.searchsorted(ids, mask)).to(features_of.device)
            cells = reduce_labels(index, count, stride, propagator.label_resize)
            propagator.start(features_of(frame[None])[0], cells)
        elif propagator is None:
            yield mask
        else:
            soft = propagator.step(features_of(frame[None])[0])
            index = cells_to_labels(soft, stride)[: size[0], : size[1]]
            if propagator.hard:
                soft = reduce_labels(index, count, stride, propagator.label_resize)
            propagator.store(soft)
            yield ids[index.cpu().numpy()]


def follow_points(
    encoder: nn.Module,
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
    features_of = _frame_encoder(encoder)
    stride = features_of.stride
    given = np.where(np.isfinite(points), points, -1.0)
    propagator = _needed(propagator, features_of)
    for time, frame in enumerate(map(_pixels, frames)):
        if time == 0:
            yield given
            if propagator is None:
                continue
            features = features_of(frame[None])[0]
            size = features.shape[1], features.shape[2]
            propagator.start(features, gaussian_maps(points / stride, size, sigma))
        elif propagator is None:
            yield given
        else:
            soft = propagator.step(features_of(frame[None])[0])
            found = read_points(soft.cpu())
            if propagator.hard:
                known = np.where(found[:, :1] < 0, np.nan, found)
                soft = gaussian_maps(known, size, sigma)
            propagator.store(soft)
            yield np.where(found < 0, -1.0, found * stride)


def reduce_labels(index: Tensor, count: int, stride: int, resize: LabelResize) -> Tensor:
    """A hard label per pixel → soft labels per cell.

    Args:
        index: (H, W) integer in [0, count).
        count: number of labels D.
        stride: pixels per cell; the last row and column are repeated up to whole cells.
        resize: as of `LabelPropagator`.

    Returns:
        (D, ceil(H / stride), ceil(W / stride)) float32, summing to 1.
    """
    bottom, right = -index.shape[0] % stride, -index.shape[1] % stride
    # in floating point: padding by repetition takes nothing else
    padded = F.pad(index[None, None].float(), (0, right, 0, bottom), mode="replicate")[0]
    labels = torch.arange(count, device=index.device).view(-1, 1, 1)
    if resize == "mean":
        # label by label: at full resolution there is room for one
        return torch.cat([F.avg_pool2d((padded == label).float(), stride) for label in labels])
    if resize == "subsample" or stride % 2:
        start = 0 if resize == "subsample" else stride // 2  # an odd cell has a central pixel
        return (padded[:, start::stride, start::stride] == labels).float()
    blend = resize == "blend_ids"
    return labels_to_cells(padded.long(), count, stride, blend_ids=blend)[0]


def cells_to_labels(soft: Tensor, stride: int) -> Tensor:
    """(D, h, w) soft labels per cell → (h·stride, w·stride) the best label of each pixel.

    Bilinear; in bands of rows, so that all labels at full resolution need not fit into memory.
    """
    labels, height, width = soft.shape
    band = max(1, _BAND_BYTES // (4 * labels * stride**2 * width))
    parts = []
    for top in range(0, height, band):
        bottom = min(top + band, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)  # their neighbours have a say
        large = F.interpolate(
            soft[None, :, first:last], scale_factor=stride, mode="bilinear", align_corners=False
        )
        parts.append(_best(large[0, :, (top - first) * stride : (bottom - first) * stride]))
    return torch.cat(parts)


def _best(soft: Tensor) -> Tensor:
    """`soft.argmax(0)`, label by label: several times faster on a CPU."""
    best, index = soft[0], torch.zeros_like(soft[0], dtype=torch.int64)
    for label in range(1, len(soft)):
        index.masked_fill_(soft[label] > best, label)
        best = torch.maximum(best, soft[label])
    return index


def _needed(propagator: LabelPropagator | None, encoder: FrameEncoder) -> LabelPropagator | None:
    """The propagator; None if the labels stay in their place."""
    if isinstance(encoder.encoder, NoMotion):
        return None
    if propagator is None:
        raise ValueError(f"{type(encoder.encoder).__name__} needs a propagator")
    return propagator


def _frame_encoder(encoder: nn.Module) -> FrameEncoder:
    return encoder if isinstance(encoder, FrameEncoder) else FrameEncoder(encoder)


def _pixels(frame: Picture) -> Tensor:
    """(3, H, W) in [0, 255]; uint8 stays, which is smaller to be copied to a device."""
    pixels = as_tensor(frame)
    return pixels if pixels.dtype == torch.uint8 else grey_levels(pixels)

"""Several label maps through a video at once, with how sure each label is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.label_cells import (
    cells_to_labels,
    pixel_labels,
    reduce_labels,
)
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.shared_features import features_of


@dataclass(frozen=True)
class Followed:
    """A label map in a later frame.

    Attributes:
        ids: (H, W) uint8.
        confidence: of each id that it shows: the mean of its soft label over its pixels, in [0, 1].
    """

    ids: Ids
    confidence: dict[int, float]


def follow_maps(
    encoder: FrameEncoder,
    propagator: LabelPropagator | None,
    frames: Iterable[Frame],
    maps: Sequence[Ids],
) -> Iterator[list[Followed]]:
    """Follow label maps of the first frame.

    Each frame is encoded and searched once: the weights with which labels are copied do not depend
    on the labels.

    Args:
        encoder: makes the features.
        propagator: copies the labels; None: they stay in their place.
        frames: (3, H, W) uint8.
        maps: (H, W) uint8 of the first frame; 0 is the background of each.

    Yields:
        One for each map, of each frame; of the first frame, the maps themselves.
    """
    given = [Followed(ids, {int(i): 1.0 for i in np.unique(ids)}) for ids in maps]
    if propagator is None:
        for _ in frames:
            yield given
        return
    shown = [np.union1d([0], np.unique(ids)).astype(np.uint8) for ids in maps]
    counts, stride = [len(ids) for ids in shown], encoder.stride
    size = maps[0].shape[0], maps[0].shape[1]
    seen = propagator.size.of(size)

    def reduced(indices: Sequence[Tensor]) -> Tensor:
        resize = propagator.label_resize
        parts = zip(indices, counts, strict=True)
        return torch.cat([reduce_labels(i, n, stride, resize, seen) for i, n in parts])

    for time, frame in enumerate(frames):
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(encoder.device)
        features = features_of(encoder, pixels, seen, propagator.size.more_scales)
        if time == 0:
            yield given
            found = (np.searchsorted(ids, map_) for ids, map_ in zip(shown, maps, strict=True))
            propagator.start(
                features, reduced([torch.from_numpy(index).to(encoder.device) for index in found])
            )
            continue
        soft = propagator.step(features)
        parts = soft.split(counts)  # type: ignore[no-untyped-call]
        there = [cells_to_labels(part, stride)[: seen[0], : seen[1]] for part in parts]
        propagator.store(reduced(there) if propagator.hard else soft)
        yield [
            Followed(
                ids[_best(part, stride, seen, size, propagator).cpu().numpy()],
                _confidence(index, part, ids, stride),
            )
            for index, part, ids in zip(there, parts, shown, strict=True)
        ]


def _best(
    soft: Tensor,
    stride: int,
    seen: tuple[int, int],
    size: tuple[int, int],
    propagator: LabelPropagator,
) -> Tensor:
    stretch = propagator.min_max == "output"
    return pixel_labels(soft, stride, seen, size, pixels=propagator.pixels, stretch=stretch)


def _confidence(index: Tensor, soft: Tensor, ids: Ids, stride: int) -> dict[int, float]:
    """Of each id, where it is the best label of a pixel."""
    height, width = index.shape
    confidence = {}
    for label in np.unique(index.cpu().numpy()).tolist():
        large = F.interpolate(
            soft[None, label : label + 1], scale_factor=stride, mode="bilinear", align_corners=False
        )
        inside = large[0, 0, :height, :width][index == label]
        confidence[int(ids[label])] = float(inside.mean().clamp(0, 1))
    return confidence

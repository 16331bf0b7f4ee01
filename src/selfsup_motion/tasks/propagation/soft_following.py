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
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.tracking import cells_to_labels, reduce_labels


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
    shown = [np.union1d([0], np.unique(ids)).astype(np.uint8) for ids in maps]
    counts, size = [len(ids) for ids in shown], maps[0].shape

    def reduced(indices: Sequence[Tensor], resize: LabelPropagator) -> Tensor:
        parts = zip(indices, counts, strict=True)
        return torch.cat(
            [reduce_labels(i, n, encoder.stride, resize.label_resize) for i, n in parts]
        )

    for time, frame in enumerate(frames):
        if time == 0 or propagator is None:
            yield given
            if time == 0 and propagator is not None:
                found = (np.searchsorted(ids, map_) for ids, map_ in zip(shown, maps, strict=True))
                indices = [torch.from_numpy(index).to(encoder.device) for index in found]
                propagator.start(_features(encoder, frame), reduced(indices, propagator))
            continue
        soft = propagator.step(_features(encoder, frame))
        parts = soft.split(counts)  # type: ignore[no-untyped-call]
        indices = [cells_to_labels(part, encoder.stride)[: size[0], : size[1]] for part in parts]
        propagator.store(reduced(indices, propagator) if propagator.hard else soft)
        yield [
            _followed(index, part, ids, encoder.stride)
            for index, part, ids in zip(indices, parts, shown, strict=True)
        ]


def _features(encoder: FrameEncoder, frame: Frame) -> Tensor:
    return encoder(torch.from_numpy(np.ascontiguousarray(frame))[None])[0]


def _followed(index: Tensor, soft: Tensor, ids: Ids, stride: int) -> Followed:
    height, width = index.shape
    confidence = {}
    for label in index.unique().tolist():
        large = F.interpolate(
            soft[None, label : label + 1], scale_factor=stride, mode="bilinear", align_corners=False
        )
        inside = large[0, 0, :height, :width][index == label]
        confidence[int(ids[label])] = float(inside.mean().clamp(0, 1))
    return Followed(ids[index.cpu().numpy()], confidence)

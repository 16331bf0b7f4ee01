"""Masks through a video whose objects are given one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.frame_size import resized
from selfsup_motion.tasks.propagation.label_cells import (
    cells_to_labels,
    pixel_labels,
    reduce_labels,
)
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import Frame


def follow_late_objects(
    encoder: FrameEncoder,
    propagator: LabelPropagator | None,
    frames: Iterable[Frame],
    given: Mapping[int, Ids],
) -> Iterator[Ids]:
    """Follow objects from the frame on in which each is given.

    A frame with new objects is predicted first; then the new ones replace what is under them. If
    the first frame is kept for good, so are all that give objects (as MAMP does).

    Args:
        encoder: makes the features.
        propagator: copies the labels; None: they stay in their place.
        frames: (3, H, W) uint8.
        given: (H, W) ids of the objects that begin in a frame, by its number; there is one for 0.

    Yields:
        (H, W) ids for each frame; an id does not occur before it is given.
    """
    ids = np.unique([0, *(i for mask in given.values() for i in np.unique(mask))]).astype(np.uint8)
    count, size, stride = len(ids), given[0].shape, encoder.stride
    if propagator is not None and 0 in propagator.long_term:
        propagator = propagator.changed(long_term=sorted({*propagator.long_term, *given}))
    mask = np.zeros(size, np.uint8)
    for time, frame in enumerate(frames):
        new = given.get(time)
        if propagator is None:
            mask = mask if new is None else np.where(new > 0, new, mask)
            yield mask
            continue
        seen = propagator.size.of((size[0], size[1]))
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(encoder.device)
        features = encoder(resized(pixels[None], seen))[0]

        def reduced(mask: Ids, like: Tensor, to: LabelPropagator = propagator) -> Tensor:
            index = torch.from_numpy(np.searchsorted(ids, mask)).to(like.device)
            shape = to.size.of((mask.shape[0], mask.shape[1]))
            return reduce_labels(index, count, stride, to.label_resize, shape)

        if time == 0:
            assert new is not None
            propagator.start(features, reduced(new, features))
            yield new
            continue
        soft = propagator.step(features)
        found = ids[pixel_labels(soft, stride, seen, (size[0], size[1])).cpu().numpy()]
        if new is not None:
            found = np.where(new > 0, new, found)
            if propagator.hard:
                soft = reduced(found, features)
            else:  # as much of a cell as is new
                fresh = reduced(new, features)
                fresh[0] = 0
                soft = (1 - fresh.sum(0)) * soft + fresh
        elif propagator.hard:
            index = cells_to_labels(soft, stride)[: seen[0], : seen[1]]
            soft = reduce_labels(index, count, stride, propagator.label_resize)
        propagator.store(soft)
        yield found

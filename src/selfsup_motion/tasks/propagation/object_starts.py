"""Which objects start in which frame of a video: each in the first mask that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from selfsup_motion.data.reading.masks import Ids
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.sequences import Frame, LabelledVideo
from selfsup_motion.tasks.propagation.vos_videos import VosVideo


def object_starts(masks: Mapping[int, Ids]) -> dict[int, set[int]]:
    """The objects that start in each frame: those that none of the earlier masks shows."""
    known: set[int] = set()
    starts = {}
    for time in sorted(masks):
        shown = set(np.flatnonzero(np.bincount(masks[time].ravel())).tolist()) - {0}
        if time == 0 or shown - known:
            starts[time] = shown - known
        known |= shown
    return starts


def new_objects(masks: Mapping[int, Ids], time: int, starts: Mapping[int, set[int]]) -> Ids | None:
    """The mask of a frame with the objects that start in it alone; None if there are none.

    Args:
        masks: of frames, by their numbers.
        time: number of the frame.
        starts: as of `object_starts`.
    """
    if time not in starts:
        return None
    return np.where(np.isin(masks[time], list(starts[time])), masks[time], 0).astype(np.uint8)


def starting_masks(masks: Mapping[int, Ids]) -> dict[int, Ids]:
    """Of the masks of a video, those in which objects start, and of them these objects alone."""
    starts = object_starts(masks)
    found = {time: new_objects(masks, time, starts) for time in starts}
    return {time: mask for time, mask in found.items() if mask is not None}


def frames_of_size(video: LabelledVideo | VosVideo, given: Mapping[int, Ids]) -> Iterator[Frame]:
    """The frames of a video, which must be as large as the masks that are given."""
    first = next(iter(given.values()))
    for time, frame in enumerate(video.frames()):
        mask = given.get(time, first)
        if frame.shape[1:] != mask.shape:
            raise UserError(
                f"{video.name}: frame {video.frame_names[time]} is {frame.shape[1]}x"
                f"{frame.shape[2]} pixels, its mask {mask.shape[0]}x{mask.shape[1]}; they must be "
                "of one size."
            )
        yield frame

"""From pixels to cells and back, and masks and points through a video."""

import numpy as np
import pytest
import torch
from test_propagation_engine import PLAIN

from selfsup_motion.models.color_encoder import ColorPatches, LabColor, NoMotion
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.tracking import (
    cells_to_labels,
    follow_masks,
    follow_points,
    reduce_labels,
)

COLOR = PLAIN | {"radius": 6, "similarity": "euclidean", "temperature": 1e-3, "hard": True}


def video(count, size=(50, 71)):
    """A bright square that moves 4 pixels a frame, and where it is."""
    frames, masks = [], []
    for time in range(count):
        mask = np.zeros(size, np.uint8)
        mask[15:31, 12 + 4 * time : 28 + 4 * time] = 7
        frame = np.full((3, *size), 60, np.uint8)
        frame[:, mask > 0] = 220
        frames.append(frame)
        masks.append(mask)
    return frames, masks


@pytest.mark.parametrize("encoder", [LabColor(4), LabColor(3), ColorPatches(4, 12, 6)])
def test_mask_follows_a_square(encoder):
    frames, masks = video(6)
    found = list(follow_masks(FrameEncoder(encoder), LabelPropagator(**COLOR), frames, masks[0]))
    assert [mask.shape for mask in found] == [(50, 71)] * 6
    assert set(np.unique(found)) == {0, 7}
    overlap = ((found[-1] == 7) & (masks[-1] == 7)).sum() / ((found[-1] | masks[-1]) > 0).sum()
    assert overlap > 0.8
    np.testing.assert_array_equal(found[0], masks[0])


def test_point_follows_a_square():
    frames, _ = video(6)
    start = np.array([[20.0, 23.0], [np.nan, np.nan]])
    for hard in (False, True):
        propagator = LabelPropagator(**COLOR | {"hard": hard, "temperature": 1e-4})
        encoder = FrameEncoder(ColorPatches(2, 24, 6))
        found = list(follow_points(encoder, propagator, frames, start, 0.5))
        assert np.linalg.norm(found[-1][0] - (40, 23)) < 4
        assert (found[-1][1] == -1).all()


def test_identity_repeats_the_first_frame_exactly():
    frames, masks = video(3)
    encoder, propagator = FrameEncoder(NoMotion()), LabelPropagator(**COLOR)
    for found in follow_masks(encoder, propagator, frames, masks[0]):
        np.testing.assert_array_equal(found, masks[0])


def test_video_is_read_as_it_is_followed():
    frames, masks = video(6)
    taken = []
    reading = (taken.append(t) or frame for t, frame in enumerate(frames))
    found = follow_masks(FrameEncoder(LabColor(4)), LabelPropagator(**COLOR), reading, masks[0])
    next(found)
    next(found)
    assert taken == [0, 1]


def test_frame_of_another_size_is_refused():
    frames, masks = video(2)
    encoder, propagator = FrameEncoder(LabColor(4)), LabelPropagator(**COLOR)
    found = follow_masks(encoder, propagator, [frames[0], frames[1][:, :40]], masks[0])
    next(found)
    with pytest.raises(ValueError, match="frame 1"):
        next(found)


@pytest.mark.parametrize("resize", ["mean", "bilinear", "subsample", "blend_ids"])
def test_labels_survive_cells(resize):
    index = torch.zeros(48, 66, dtype=torch.int64)
    index[8:32, 16:48] = 2
    cells = reduce_labels(index, 4, 4, resize)
    assert cells.shape == (4, 12, 17)
    torch.testing.assert_close(cells.sum(0), torch.ones(12, 17))
    assert cells[2, 2:8, 4:12].min() == 1
    back = cells_to_labels(cells, 4)[:48, :66]
    assert (back != index).float().mean() < 0.05


def test_only_the_published_resize_makes_up_ids_between_objects():
    index = torch.zeros(16, 16, dtype=torch.int64)
    index[:, 6:] = 3
    assert reduce_labels(index, 4, 4, "bilinear")[1:3].max() == 0
    assert reduce_labels(index, 4, 4, "blend_ids")[1:3].max() == 1


def test_bands_do_not_change_the_labels(monkeypatch):
    soft = torch.rand(3, 11, 13, generator=torch.Generator().manual_seed(0))
    whole = cells_to_labels(soft, 4)
    monkeypatch.setattr("selfsup_motion.tasks.propagation.tracking._BAND_BYTES", 1)
    torch.testing.assert_close(cells_to_labels(soft, 4), whole)
    expected = torch.nn.functional.interpolate(soft[None], scale_factor=4, mode="bilinear")[0]
    torch.testing.assert_close(whole, expected.argmax(0))

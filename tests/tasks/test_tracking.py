"""From pixels to cells and back, and masks and points through a video."""

from itertools import tee

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_propagation_engine import PLAIN

import selfsup_motion as ssm
from selfsup_motion.models.color_encoder import ColorPatches, LabColor, NoMotion
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.label_cells import (
    cells_to_labels,
    pixel_labels,
    reduce_labels,
)
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.shared_features import SharedFrameEncoder, features_of
from selfsup_motion.tasks.propagation.tracking import follow_masks, follow_points
from selfsup_motion.tasks.propagation.tracks import MaskTrack, PointTrack

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


def test_without_an_encoder_patches_are_followed_as_the_command_follows_them(monkeypatch):
    monkeypatch.setattr("selfsup_motion.tasks.propagation.default_encoder.shipped", dict)
    frames, masks = video(4)
    found = list(follow_masks(None, None, frames, masks[0]))
    named = follow_masks(ssm.encoder("color_patches"), ssm.propagator("patches"), frames, masks[0])
    for ours, expected in zip(found, named, strict=True):
        np.testing.assert_array_equal(ours, expected)
    with_colors = list(follow_masks(LabColor(4), None, frames, masks[0]))
    named = follow_masks(LabColor(4), ssm.propagator("color"), frames, masks[0])
    np.testing.assert_array_equal(with_colors, list(named))


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: 255 * (mask > 0), "no object: 255 stands for void; give an object an id"),
        (lambda mask: mask.astype(np.int64) * 100, "whole numbers from 0 to 255, got int64 from 0"),
        (lambda mask: mask / 7, "whole numbers from 0 to 255, got float64"),
        (lambda mask: {3: mask}, "there are masks of frame 3, but only 3 frames"),
    ],
)
def test_a_mask_that_would_not_be_followed_is_refused(change, message):
    frames, masks = video(3)
    with pytest.raises(ValueError, match=message):
        list(follow_masks(LabColor(4), None, frames, change(masks[0])))


def test_void_of_a_mask_is_background():
    frames, masks = video(3)
    void = np.where(np.arange(71) < 5, 255, masks[0])
    found = follow_masks(LabColor(4), None, frames, void)
    for ours, expected in zip(
        found, follow_masks(LabColor(4), None, frames, masks[0]), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_points_that_would_not_be_followed_are_refused():
    frames, _ = video(2)
    start = np.array([[20.0, 23.0]])
    for points, sigma, message in (
        (start[0], 0.5, r"points must be \(K, 2\), those of frame 0 are \(2,\)"),
        (start, 0.0, "sigma must be positive"),
        ({2: start}, 0.5, "there are points of frame 2, but only 2 frames"),
    ):
        with pytest.raises(ValueError, match=message):
            list(follow_points(LabColor(4), None, frames, points, sigma))


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
    monkeypatch.setattr("selfsup_motion.tasks.propagation.label_cells._BAND_BYTES", 1)
    torch.testing.assert_close(cells_to_labels(soft, 4), whole)
    expected = torch.nn.functional.interpolate(soft[None], scale_factor=4, mode="bilinear")[0]
    torch.testing.assert_close(whole, expected.argmax(0))
    torch.testing.assert_close(pixel_labels(soft, 4, (43, 50), (43, 50)), whole[:43, :50])


def test_labels_of_a_resized_frame_come_back_to_its_own_pixels(monkeypatch):
    index = torch.zeros(60, 90, dtype=torch.int64)
    index[20:41, 31:60] = 2
    for seen in ((40, 60), (120, 180), (50, 61)):
        for resize in ("mean", "subsample"):
            cells = reduce_labels(index, 3, 4, resize, seen)
            assert cells.shape[1:] == (-(-seen[0] // 4), -(-seen[1] // 4))
            torch.testing.assert_close(cells.sum(0), torch.ones_like(cells[0]))
            back = pixel_labels(cells, 4, seen, (60, 90))
            assert back.shape == (60, 90)
            assert (back != index).float().mean() < 0.06
    # at the frame's own size, both ways of enlarging are one
    soft = torch.rand(3, 11, 13, generator=torch.Generator().manual_seed(0))
    small = pixel_labels(soft, 4, (22, 26), (44, 52))
    double = torch.nn.functional.interpolate(soft[None], scale_factor=8, mode="bilinear")[0]
    assert (small[:, :52] == double.argmax(0)[:44, :52]).all()
    monkeypatch.setattr("selfsup_motion.tasks.propagation.label_cells._BAND_BYTES", 1)
    torch.testing.assert_close(pixel_labels(soft, 4, (22, 26), (44, 52)), small)


def test_frames_are_resized_and_what_is_found_is_not():
    frames, masks = video(5, (100, 142))
    settings = COLOR | {"short_side": 50}
    start = np.array([[20.0, 23.0]])
    seen = []
    encoder = FrameEncoder(LabColor(2))
    encoder.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    found = list(follow_masks(encoder, LabelPropagator(**settings), frames, masks[0]))
    assert set(seen) == {(50, 71)}
    assert [mask.shape for mask in found] == [(100, 142)] * 5
    overlap = ((found[-1] == 7) & (masks[-1] == 7)).sum() / ((found[-1] | masks[-1]) > 0).sum()
    assert overlap > 0.8
    patches = FrameEncoder(ColorPatches(2, 12, 6))
    settings |= {"temperature": 1e-4}
    points = list(follow_points(patches, LabelPropagator(**settings), frames, start, 0.5))
    np.testing.assert_array_equal(points[0], start)
    assert np.linalg.norm(points[-1][0] - (36, 23)) < 4


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"short_side": 4}, "short_side must be at least 8"),
        ({"frame_size": [64]}, r"frame_size is \[height, width\]"),
        ({"frame_size": [64, 64], "short_side": 64}, "both give the size"),
        ({"long_side_multiple": 0}, "long_side_multiple must be at least 1"),
        ({"more_scales": [0.5, 0]}, r"more_scales must lie between 0.1 and 4, got \[0.5, 0\]"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, expected):
    with pytest.raises(ValueError, match=expected):
        LabelPropagator(**sizes)


def test_shared_features_are_those_of_each_size_and_made_once():
    frames = [torch.from_numpy(frame) for frame in video(4)[0]]
    masks = video(1)[1]
    shared, plain = SharedFrameEncoder(LabColor(2)), FrameEncoder(LabColor(2))
    sizes = (None, 40, 40)
    made = [LabelPropagator(**COLOR | {"short_side": size, "hard": False}) for size in sizes]
    copies = tee(frames, len(made))
    side_by_side = [follow_masks(shared, made[i], copies[i], masks[0]) for i in range(len(made))]
    together = list(zip(*side_by_side, strict=True))
    assert shared.encoded == 2 * len(frames), "two sizes"
    for index, size in enumerate(sizes):
        alone = LabelPropagator(**COLOR | {"short_side": size, "hard": False})
        for found, own in zip(together, follow_masks(plain, alone, frames, masks[0]), strict=True):
            np.testing.assert_array_equal(found[index], own)
    for frame in frames:
        ours = features_of(shared, frame, (40, 57))
        assert torch.equal(ours, features_of(plain, frame, (40, 57)))
        assert features_of(shared, frame, (40, 57)) is ours


@pytest.mark.parametrize(
    "settings",
    [
        {"hard": False, "more_scales": [0.5]},
        {"hard": False, "starts": "contexts"},
        {"predict_first": True},
    ],
    ids=str,
)
def test_a_state_without_features_goes_on_as_if_it_had_kept_them(settings):
    arrays, masks = video(9)
    frames = [torch.from_numpy(frame) for frame in arrays]
    corner = np.zeros_like(masks[0])
    corner[:12, :12] = 3
    start = np.array([[20.0, 23.0]])
    encoder = FrameEncoder(ColorPatches(4, 12, 6))
    own = [LabelPropagator(**COLOR | {"temperature": 1e-2} | settings) for _ in range(2)]
    ids = np.array([0, 3, 7], np.uint8)
    objects = MaskTrack(encoder, own[0], ids, masks[0].shape)
    points = PointTrack(encoder, own[1], 1, masks[0].shape, 0.5)
    given = {0: masks[0], 2: corner}
    for time in range(5):
        objects.next(frames[time], given.get(time))
        points.next(frames[time], start if time == 0 else None)
    kept = [objects.lightened(), points.lightened()]
    for track, full in zip(kept, (objects, points), strict=True):
        assert track.bytes_kept < full.bytes_kept / 4
        while wanted := sorted(track.wanted)[:2]:
            track.refill({ago: frames[4 - ago] for ago in wanted})
    for frame in frames[5:]:
        np.testing.assert_array_equal(kept[0].next(frame), objects.next(frame))
        np.testing.assert_array_equal(kept[1].next(frame), points.next(frame))


def test_features_of_several_scales_are_averaged():
    frame, mask = torch.from_numpy(video(1)[0][0]), video(1)[1][0]
    shared, plain = SharedFrameEncoder(LabColor(2)), FrameEncoder(LabColor(2))
    large, small = features_of(plain, frame, (40, 56)), features_of(plain, frame, (20, 28))
    both = features_of(plain, frame, (40, 56), (0.5,))
    enlarged = F.interpolate(small[None], large.shape[1:], mode="bilinear", align_corners=False)[0]
    expected = (F.normalize(large, dim=0) + F.normalize(enlarged, dim=0)) / 2
    torch.testing.assert_close(both, expected)
    assert torch.equal(features_of(shared, frame, (40, 56), (0.5,)), both)
    assert shared.encoded == 2

    def followed(**settings):
        frames = [torch.from_numpy(frame) for frame in video(4)[0]]
        made = LabelPropagator(**COLOR | {"short_side": 40, "hard": False} | settings)
        return np.stack(list(follow_masks(plain, made, frames, mask)))

    assert "and 0.5 times that" in str(LabelPropagator(short_side=40, more_scales=[0.5]))
    assert not np.array_equal(followed(more_scales=[0.5]), followed())

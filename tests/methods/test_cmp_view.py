import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.view import CMPView

OPTIONS = {"crop_size": 96, "grid_ratio": 1 / 400, "nms_size": 15, "max_points": 40}


def view(**changes) -> CMPView:
    return CMPView(**{**OPTIONS, **changes})


def toy(index: int = 0, size=128) -> Clip:
    return ToyWorld(size=size).read(index, [3, 5])


def test_sample_has_the_promised_shapes_and_types():
    sample = view()(toy(), sample_rng(0, 0, 0))
    expected = {
        "image": ((3, 96, 96), torch.uint8),
        "flow": ((2, 96, 96), torch.float32),
        "valid": ((96, 96), torch.bool),
        "points": ((40, 2), torch.float32),
        "vectors": ((40, 2), torch.float32),
        "point_mask": ((40,), torch.bool),
    }
    assert {k: (tuple(v.shape), v.dtype) for k, v in sample.items()} == expected


@settings(deadline=None, max_examples=25)
@given(
    index=st.integers(0, 50),
    seed=st.integers(0, 10**6),
    train=st.booleans(),
    short_side=st.sampled_from([None, 100, 128, 150]),
    crop=st.sampled_from([64, (80, 96), (140, 200)]),
)
def test_vectors_are_the_flow_at_their_points(index, seed, train, short_side, crop):
    made = view(crop_size=crop, short_side=short_side, train=train, flip=True)
    sample = made(toy(index), sample_rng(seed, 0, index))
    used = sample["point_mask"]
    x, y = sample["points"][used].long().T
    assert used.any()
    assert torch.equal(sample["flow"][:, y, x].T, sample["vectors"][used])
    assert sample["valid"][y, x].all()
    assert not sample["vectors"][~used].any()


def test_same_randomness_gives_the_same_sample_and_other_randomness_another():
    one, again, other = (view(flip=True)(toy(), sample_rng(s, 0, 0)) for s in (1, 1, 2))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_mirroring_mirrors_the_motion():
    clip = toy()
    made = view(crop_size=128, flip=True)
    samples = [made(clip, sample_rng(s, 0, 0)) for s in range(12)]
    plain = next(s for s in samples if np.array_equal(s["image"], clip.frames[0]))
    mirrored = next(s for s in samples if not np.array_equal(s["image"], clip.frames[0]))
    assert torch.equal(mirrored["image"], plain["image"].flip(-1))
    assert torch.equal(mirrored["flow"][0], -plain["flow"][0].flip(-1))
    assert torch.equal(mirrored["flow"][1], plain["flow"][1].flip(-1))


def test_validation_does_not_crop_or_mirror_at_random():
    made = view(train=False, flip=True, few_points=1.0, flow_scale=(0.5, 2.0), flow_rotate=True)
    samples = [made(toy(), sample_rng(s, 0, 0)) for s in range(4)]
    assert all(torch.equal(s["image"], samples[0]["image"]) for s in samples)
    assert all(torch.equal(s["flow"], samples[0]["flow"]) for s in samples)
    assert len({int(s["point_mask"].sum()) for s in samples}) == 1


def test_resizing_scales_each_component_by_its_own_ratio():
    flow = np.ones((1, 2, 50, 101), np.float32)
    clip = Clip(np.zeros((2, 3, 50, 101), np.uint8), "x", flow=flow)
    sample = view(crop_size=(100, 202), short_side=100, train=False)(clip, sample_rng(0, 0, 0))
    assert torch.allclose(sample["flow"][0], torch.tensor(202 / 101))
    assert torch.allclose(sample["flow"][1], torch.tensor(100 / 50))


def test_padding_of_small_frames_is_black_and_invalid():
    sample = view(crop_size=160, train=False)(toy(), sample_rng(0, 0, 0))
    assert not sample["image"][:, :16].any()
    assert not sample["valid"][:16].any()
    assert sample["valid"][16:144, 16:144].any()


def test_few_points_keeps_between_one_and_all():
    made = view(few_points=1.0)
    counts = [int(made(toy(), sample_rng(s, 0, 0))["point_mask"].sum()) for s in range(30)]
    assert min(counts) >= 1
    assert len(set(counts)) > 5


@pytest.mark.parametrize("seed", range(6))
def test_other_motion_is_the_same_rotation_and_scale_for_all_pixels(seed):
    clip, options = toy(), {"crop_size": 128}
    plain = view(**options)(clip, sample_rng(seed, 0, 0))
    made = view(**options, flow_reverse=True, flow_scale=(0.5, 2.0), flow_rotate=True)
    sample = made(clip, sample_rng(seed, 0, 0))
    assert torch.equal(sample["image"], plain["image"])
    assert torch.equal(sample["valid"], plain["valid"])
    before, after = (torch.complex(*s["flow"].double()) for s in (plain, sample))
    moving = before.abs() > 0.1
    factor = (after / before)[moving]
    assert factor.abs().min() >= 0.5
    assert factor.abs().max() <= 2.001
    torch.testing.assert_close(factor, factor[:1].expand_as(factor), rtol=1e-4, atol=1e-4)
    x, y = sample["points"][sample["point_mask"]].long().T
    assert torch.equal(sample["flow"][:, y, x].T, sample["vectors"][sample["point_mask"]])


def test_motion_is_turned_by_any_angle_and_rest_stays_rest():
    made = view(flow_rotate=True, crop_size=16)
    flow = np.zeros((2, 4, 4), np.float32)
    flow[:, 0] = np.array([[-3.0], [0.0]])
    turned = [made._other_motion(flow, sample_rng(s, 0, 0)) for s in range(200)]
    assert all(np.isfinite(t).all() and not t[:, 1:].any() for t in turned)
    angles = np.array([np.arctan2(t[1, 0, 0], t[0, 0, 0]) for t in turned])
    changed = angles[np.abs(np.abs(angles) - np.pi) > 1e-3]
    assert 60 < len(changed) < 140  # about half are turned
    assert (np.histogram(changed, 6, (-np.pi, np.pi))[0] > 3).all()


def test_unknown_motion_is_not_shown():
    clip = toy()
    flow = clip.flow.copy()
    flow[:, :, :64] = np.nan
    valid = clip.valid.copy()
    valid[:, :64] = False
    broken = Clip(clip.frames, clip.key, flow=flow, valid=valid)
    sample = view(crop_size=128, train=False)(broken, sample_rng(0, 0, 0))
    assert sample["flow"].isfinite().all()
    assert (sample["points"][sample["point_mask"]][:, 1] >= 64).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategies": []}, "strategies"),
        ({"nms_size": 4}, "nms_size"),
        ({"grid_ratio": 0.0}, "grid_ratio"),
        ({"max_points": 0}, "view.max_points"),
        ({"few_points": 1.5}, "few_points"),
        ({"flow_scale": (2.0, 0.5)}, "flow_scale"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(changes, says):
    with pytest.raises(UserError, match=says):
        view(**changes)


def test_a_clip_without_flow_is_refused_in_one_sentence():
    clip = Clip(np.zeros((2, 3, 96, 96), np.uint8), "photo.jpg")
    with pytest.raises(UserError, match=r"photo\.jpg has none: use a source with flow"):
        view()(clip, sample_rng(0, 0, 0))

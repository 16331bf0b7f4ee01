"""ToyWorld's ground truth is exact, consistent and repeatable."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.data.toy import ACTIONS, CLASSES, JOINTS, LIMBS, ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import UserError

QUIET = Difficulty(noise=0.0)
worlds = st.integers(0, 2**31)


def backward_warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    hwc = np.ascontiguousarray(image.transpose(1, 2, 0), dtype=np.float32)
    return cv2.remap(hwc, x + flow[0], y + flow[1], cv2.INTER_LINEAR).transpose(2, 0, 1)


@settings(deadline=None, max_examples=20)
@given(
    seed=worlds,
    first=st.integers(0, 60),
    step=st.integers(1, 3),
    size=st.sampled_from([(128, 128), (96, 160), (200, 144)]),
)
def test_warping_the_next_frame_back_by_the_flow_gives_the_first(seed, first, step, size):
    clip = ToyWorld(seed=seed, size=size, difficulty=QUIET).read(0, [first, first + step])
    warped = backward_warp(clip.frames[1], clip.flow[0])
    error = np.abs(warped - clip.frames[0])[:, clip.valid[0]]
    assert clip.valid[0].mean() > 0.5
    assert error.mean() < 2.0


def test_flow_is_exact_not_just_close():
    # a fifth of a pixel of error would show, on strong textures under steady light
    difficulty = Difficulty(noise=0.0, lighting=0.0, contrast=0.2, background_contrast=0.2)
    clip = ToyWorld(seed=3, difficulty=difficulty).read(1, [10, 12])
    good = backward_warp(clip.frames[1], clip.flow[0])
    off = backward_warp(clip.frames[1], clip.flow[0] + 0.2)
    inside = cv2.erode(clip.valid[0].astype(np.uint8), np.ones((5, 5))) > 0
    errors = [np.abs(w - clip.frames[0])[:, inside].mean() for w in (good, off)]
    assert errors[0] < 0.6 * errors[1]


@settings(deadline=None, max_examples=10)
@given(seed=worlds, index=st.integers(0, 999))
def test_same_seed_and_index_give_the_same_bytes(seed, index):
    one, other = (ToyWorld(seed=seed).read(index, [5, 2]) for _ in range(2))
    for a, b in zip(_arrays(one), _arrays(other), strict=True):
        assert a.tobytes() == b.tobytes()


def test_frames_do_not_depend_on_what_was_read_before():
    world = ToyWorld(seed=1)
    world.read(0, [0, 1, 2])
    world.read(5, [9])
    clip = pickle.loads(pickle.dumps(world)).read(0, [40, 41])
    fresh = ToyWorld(seed=1).read(0, [40, 41])
    assert all(np.array_equal(a, b) for a, b in zip(_arrays(clip), _arrays(fresh), strict=True))


def test_splits_seeds_and_videos_are_different_worlds():
    frames = {
        ToyWorld(split=split, seed=seed).read(index, [0]).frames.tobytes()
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for index in (0, 1, 2)
    }
    assert len(frames) == 18


@settings(deadline=None, max_examples=25)
@given(seed=worlds, index=st.integers(0, 99))
def test_masks_joints_parts_and_flow_agree(seed, index):
    clip = ToyWorld(seed=seed, difficulty=Difficulty(puppet=1.0)).read(index, [7, 9])
    masks, parts, joints = (clip.labels[name] for name in ("masks", "parts", "keypoints"))
    classes = clip.labels["object_classes"]
    puppet = 1 + int(np.flatnonzero(classes == CLASSES.index("puppet"))[0])
    assert masks.max() <= len(classes)
    assert set(masks[parts > 0].tolist()) <= {puppet}
    assert np.array_equal(parts > 0, masks == puppet)

    x, y, visibility = np.moveaxis(joints, -1, 0)
    for t, k in np.argwhere(visibility == 2):
        assert masks[t, round(y[t, k]), round(x[t, k])] == puppet
    absent = visibility[0] == 0
    assert np.array_equal(absent, visibility[1] == 0)
    present_limbs = [not absent[JOINTS.index(f"{limb}_root")] for limb in LIMBS]
    assert 3 <= sum(present_limbs) <= 6

    # a visible joint moves as the flow says at its place, if its own limb is on top there
    for k in np.flatnonzero((visibility == 2).all(0)):
        column, line = round(x[0, k]), round(y[0, k])
        name = JOINTS[k].removesuffix("_root").removesuffix("_tip")
        part = 1 if name == "torso" else 2 + LIMBS.index(name)
        if parts[0, line, column] == part:
            moved = joints[1, k, :2] - joints[0, k, :2]
            # the flow is read at the nearest pixel: up to 0.7 px off, times the turn
            assert np.abs(clip.flow[0][:, line, column] - moved).max() < 0.4


@settings(deadline=None, max_examples=20)
@given(seed=worlds)
def test_valid_pixels_keep_their_object_and_occluded_ones_do_not(seed):
    clip = ToyWorld(seed=seed).read(0, [20, 23])
    height, width = clip.frames.shape[2:]
    y, x = np.mgrid[:height, :width]
    column = np.rint(x + clip.flow[0, 0]).astype(int)
    line = np.rint(y + clip.flow[0, 1]).astype(int)
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    valid, occluded = clip.valid[0], clip.labels["occlusion"][0]
    assert not (valid & occluded).any()
    assert inside[valid].all()
    masks = clip.labels["masks"]
    there = masks[1][line.clip(0, height - 1), column.clip(0, width - 1)]
    assert np.array_equal(masks[0][valid], there[valid])


def test_parts_move_with_but_not_like_their_parents():
    clip = ToyWorld(seed=5, difficulty=Difficulty(puppet=1.0)).read(3, [10, 12])
    parts, flow = clip.labels["parts"][0], clip.flow[0]
    torso = flow[:, parts == 1].mean(1)
    limbs = [flow[:, parts == p].mean(1) for p in np.unique(parts) if p > 1]
    assert max(np.abs(limb - torso).max() for limb in limbs) > 0.5


def test_every_action_and_every_class_occurs():
    world = ToyWorld(num_videos=200)
    clips = [world.read(i, [0]) for i in range(60)]
    assert {int(c.labels["action"]) for c in clips} == set(range(len(ACTIONS)))
    seen = {int(k) for c in clips for k in c.labels["object_classes"]}
    assert seen == set(range(1, len(CLASSES)))


def test_objects_stay_in_sight_over_a_long_clip():
    world = ToyWorld(num_frames=400)
    shares = [
        len(np.unique(clip.labels["masks"])) / (1 + len(clip.labels["object_classes"]))
        for clip in (world.read(i, [390]) for i in range(20))
    ]
    assert np.mean(shares) > 0.85


def test_base_colours_alone_do_not_tell_objects_apart():
    # the mean colour of an object is nearer to its surroundings than the texture is wide
    differences = []
    for index in range(20):
        clip = ToyWorld(difficulty=QUIET).read(index, [0])
        mask, frame = clip.labels["masks"][0], clip.frames[0]
        for instance in np.unique(mask[mask > 0]):
            own = frame[:, mask == instance].mean(1)
            others = [frame[:, mask == i].mean(1) for i in np.unique(mask) if i != instance]
            differences.append(min(np.abs(own - other).mean() for other in others))
    assert np.median(differences) < 255 * 0.12


def test_difficulty_is_obeyed():
    still = Difficulty(
        speed=(0.0, 0.0), rotation=0.0, camera_speed=0.0, camera_rotation=0.0, camera_zoom=0.0
    )
    flow = ToyWorld(difficulty=still).read(0, [0, 5]).flow
    assert np.abs(flow).max() < 1e-3
    crowd = Difficulty(num_sprites=(6, 6), puppet=0.0)
    assert len(ToyWorld(difficulty=crowd).read(0, [0]).labels["object_classes"]) == 6
    clean = ToyWorld(difficulty=QUIET).read(0, [0]).frames.astype(int)
    noisy = ToyWorld(difficulty=Difficulty(noise=4.0)).read(0, [0]).frames.astype(int)
    assert 3.0 < (noisy - clean).std() < 5.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "testing"}, "split must be one of train, val, test"),
        ({"num_videos": 0}, "num_videos must be at least 1"),
        ({"size": 8}, "size must be at least 32"),
    ],
)
def test_bad_options_are_told(options, says):
    with pytest.raises(UserError, match=says):
        ToyWorld(**options)


@pytest.mark.parametrize(
    "options", [{"speed": (0.2, 0.1)}, {"noise": -1.0}, {"puppet": 2.0}]
)  # fmt: skip
def test_bad_difficulty_is_told(options):
    with pytest.raises(UserError, match=next(iter(options))):
        Difficulty(**options)


def test_frames_outside_the_video_are_refused():
    with pytest.raises(IndexError, match="frames 0 to 63"):
        ToyWorld().read(0, [64])


def _arrays(clip):
    return [clip.frames, clip.flow, clip.valid, *(clip.labels[k] for k in sorted(clip.labels))]

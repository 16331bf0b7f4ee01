"""What networks that learn actions see: random windows and clips, the test views of videos."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.ops.clip_views import clip_frames
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.actions.clips import (
    ActionTestView,
    ActionView,
    RandomActionClips,
    SpreadClips,
)
from selfsup_motion.tasks.actions.videos import ActionVideos, ClipViews, ToyActions

PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grey": 0.0}


def view(**changes) -> ActionView:
    return ActionView(**{"size": 32, "short_side": (32, 36), "flip": 0.5, **PLAIN, **changes})


def gradient_clip(height: int = 40, width: int = 60) -> Clip:
    """Columns and rows can be told from the colour: red is x, green is y, blue is the frame."""
    frames = np.zeros((5, 3, height, width), np.uint8)
    frames[:, 0] = np.arange(width) * 4
    frames[:, 1] = np.arange(height)[:, None] * 4
    frames[:, 2] = np.arange(5)[:, None, None]
    return Clip(frames=frames, key="gradient", labels={"action": np.array(3)})


def test_training_windows_lie_anywhere_and_are_the_same_in_all_frames():
    rng = np.random.default_rng(0)
    made = view(size=20, short_side=(40, 40), flip=0.0)
    corners = set()
    for _ in range(300):
        sample = made(gradient_clip(), rng)
        clip = sample["clip"].numpy().astype(int)
        assert clip.shape == (5, 3, 20, 20)
        assert (clip[:, :2] == clip[:1, :2]).all()
        assert (clip[:, 2] == np.arange(5)[:, None, None]).all()
        corners.add((clip[0, 0, 0, 0] // 4, clip[0, 1, 0, 0] // 4))
        assert sample["action"] == 3
        assert set(sample) == {"clip", "action"}
    x, y = np.array(sorted(corners)).T
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 40, 0, 20)


def test_training_clips_are_resized_mirrored_and_given_one_colour():
    rng = np.random.default_rng(0)
    made = view(size=20, short_side=(20, 40), brightness=0.5, grey=0.4)
    samples = [made(gradient_clip(), rng) for _ in range(300)]
    slopes = [float(s["clip"][0, 0, 0].float().diff().mean()) for s in samples]
    assert 0.4 < np.mean(np.array(slopes) < 0) < 0.6
    # at half the size, a pixel is two wide
    assert min(map(abs, slopes)) == pytest.approx(4, abs=0.2)
    assert max(map(abs, slopes)) == pytest.approx(8, abs=0.4)
    color = torch.stack([s["color"] for s in samples])
    assert color.shape == (300, 1, 4)
    assert 0.5 <= color[:, 0, 0].min() < 0.6 < 1.4 < color[:, 0, 0].max() <= 1.5
    assert 0.3 < (color[:, 0, 2] == 0).float().mean() < 0.5
    again = made(gradient_clip(), np.random.default_rng(7))
    assert torch.equal(again["clip"], made(gradient_clip(), np.random.default_rng(7))["clip"])


def test_random_clips_have_the_spacing_of_test_clips_and_begin_anywhere():
    sampler = RandomActionClips(length=16, stride=4, clips_per_video=1)
    rng = np.random.default_rng(0)
    info = VideoInfo("x", 200, 30.0, 10, 10)
    drawn = np.array([sampler(info, rng, 0) for _ in range(400)])
    assert drawn.min() == 0
    assert 195 < drawn.max() < 200
    spread = drawn[:, -1] - drawn[:, 0]
    assert set(spread.tolist()) <= {63, 62, 64}
    # half the frame rate, half the frames
    slow = np.array([sampler(VideoInfo("x", 200, 15.0, 10, 10), rng, 0) for _ in range(50)])
    assert set((slow[:, -1] - slow[:, 0]).tolist()) <= {30, 31, 32}
    short = sampler(VideoInfo("x", 10, 30.0, 10, 10), rng, 0)
    assert short[0] == 0
    assert short[-5:] == [9] * 5


def test_test_views_are_those_of_the_frozen_task():
    toys = ToyActions(ToyWorld(2, size=48))
    views = ClipViews(length=4, stride=2, clips=3, crops=3, short_side=40, size=32)
    frames = SpreadClips(views)(toys.info(1), np.random.default_rng(0), 0)
    sample = ActionTestView(views)(toys.read(1, frames), np.random.default_rng(0))
    np.testing.assert_array_equal(sample["clip"].numpy(), toys.views(1, views))
    assert sample["action"] == toys.labels[1]


def test_clips_without_a_label_are_refused():
    clip = Clip(frames=np.zeros((4, 3, 32, 32), np.uint8), key="x")
    with pytest.raises(UserError, match="x has no label `action`"):
        view()(clip, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"short_side": (20, 40)},
            r"view\.short_side=\[20, 40\]: expected two lengths of at least",
        ),
        ({"flip": 1.5}, r"view\.flip=1\.5"),
        ({"grey": -1}, r"view\.grey=-1"),
    ],
)
def test_views_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        view(**changes)
    with pytest.raises(UserError, match=r"sampler\.stride=0"):
        RandomActionClips(length=4, stride=0, clips_per_video=1)


def test_videos_in_files_are_a_source(shared):
    part = ActionVideos(
        root=shared / "data" / "actions", part="train", layout="folder", lists=None, split=1,
        test_share=0.3, short_side=48,
    )  # fmt: skip
    info = part.info(0)
    clip = part.read(0, [0, 3, 3])
    assert clip.frames.shape == (3, 3, info.height, info.width)
    assert min(info.height, info.width) == 48
    assert (clip.frames[1] == clip.frames[2]).all()
    assert clip.labels["action"] == part.labels[0]
    assert clip.key == part.name(0) == info.key


def test_clips_of_a_variable_rate_show_what_is_shown_at_their_moments():
    rng = np.random.default_rng(0)
    even = np.arange(200) / 15
    # the same frames, of which those in the middle are missing
    kept = np.r_[0:60, 120:200]
    uneven = even[kept]
    for clips in (1, 4):
        options = {"length": 16, "stride": 4, "clips": clips}
        whole = clip_frames(200, 15.0, **options)
        np.testing.assert_array_equal(clip_frames(200, 15.0, times=even, **options), whole)
    rate = (len(kept) - 1) / (uneven[-1] - uneven[0])
    found = clip_frames(len(kept), rate, times=uneven, length=16, stride=4, clips=4)
    assert (np.diff(found) >= 0).all()
    moments = uneven[found] - uneven[found[:, :1]]
    ideal = np.linspace(0, 16 * 4 / 30, 16, endpoint=False)
    # late by less than a frame where there are frames
    assert np.abs(moments - ideal)[[0, 3]].max() < 1.5 / 15
    sampler = RandomActionClips(length=16, stride=4, clips_per_video=1)
    info = VideoInfo("x", len(kept), rate, 10, 10, lambda: uneven)
    drawn = np.array([sampler(info, rng, 0) for _ in range(50)])
    assert drawn.min() == 0
    assert drawn.max() >= len(kept) - 3
    spans = uneven[drawn[:, -1]] - uneven[drawn[:, 0]]
    assert np.median(spans) == pytest.approx(15 * 4 / 30, abs=0.1)


def test_sparse_clips_take_a_frame_from_each_part_of_the_video():
    options = {"length": 4, "crops": 1, "short_side": 32, "size": 32, "sampling": "sparse"}
    one = ClipViews(stride=None, clips=1, **options)
    # parts of 10 frames: 0 to 10, 10 to 20, …; SlowFast takes (0 + 10) // 2, …
    assert one.frames(41, 30.0).tolist() == [[5, 15, 25, 35]]
    two = ClipViews(stride=None, clips=2, **options).frames(41, 30.0)
    assert two.tolist() == [[2, 12, 22, 32], [7, 17, 27, 37]]
    assert one.frames(2, 30.0).tolist() == [[0, 0, 0, 1]]
    # the second half of the frames is shown in the last tenth of the time
    uneven = np.concatenate([np.linspace(0, 9, 21), 9 + np.linspace(0.05, 1, 20)])
    assert one.frames(41, 30.0, uneven).tolist() == [[2, 8, 13, 19]]
    random = RandomActionClips(length=4, stride=None, clips_per_video=1)
    drawn = np.array(
        [random(VideoInfo("x", 41, 30.0, 8, 8), np.random.default_rng(n), 0) for n in range(200)]
    )
    assert (drawn // 10 == np.arange(4)).all()
    assert all(len(set(column)) == 10 for column in drawn.T.tolist())


def test_dense_clips_have_a_stride_and_sparse_ones_have_none():
    options = {"length": 4, "clips": 1, "crops": 1, "short_side": 32, "size": 32}
    with pytest.raises(UserError, match="stride=null: dense clips need one"):
        ClipViews(stride=None, **options)
    with pytest.raises(UserError, match="stride=2: dense clips need one, and sparse ones have no"):
        ClipViews(stride=2, sampling="sparse", **options)
    with pytest.raises(UserError, match="choose dense or sparse"):
        ClipViews(stride=2, sampling="every", **options)


@pytest.mark.parametrize(
    "task", ["ucf101", pytest.param("toy_actions_finetune", marks=pytest.mark.slow)]
)
def test_published_views_are_chosen_by_name(task):
    cfg = compose([f"task={task}", "views=kinetics_dense", "encoder=r3d8"], config_name="evaluate")
    views = build(cfg.task.views, "task.views")
    assert (views.length, views.stride, views.clips, views.crops) == (8, 8, 10, 3)
    cfg = compose(
        [f"task={task}", "views=ssv2_sparse", "task.views.length=16", "encoder=r3d8"],
        config_name="evaluate",
    )
    assert build(cfg.task.views, "task.views").frames(320, 30.0).shape == (1, 16)

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsup_motion.data.sampling import AllClips, RandomClips, SeparateClips, UniformClips
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import ClipReadError, UserError


def video(num_frames: int, fps: float | None = 25.0) -> VideoInfo:
    return VideoInfo("x.mp4", num_frames, fps, 64, 96)


@given(
    num_frames=st.integers(1, 60),
    length=st.integers(1, 5),
    stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_random_clips_lie_in_the_video_at_their_stride(
    num_frames: int, length: int, stride: int, seed: int
) -> None:
    sampler = RandomClips(length, stride)
    if num_frames < (length - 1) * stride + 1:
        with pytest.raises(ClipReadError):
            sampler(video(num_frames), np.random.default_rng(seed), 0)
        return
    frames = sampler(video(num_frames), np.random.default_rng(seed), 0)
    assert 0 <= frames[0] <= frames[-1] < num_frames
    assert np.diff(frames).tolist() == [stride] * (length - 1)


def test_every_start_is_drawn() -> None:
    rng = np.random.default_rng(0)
    assert {RandomClips(3)(video(7), rng, 0)[0] for _ in range(200)} == {0, 1, 2, 3, 4}


def test_too_short_video_is_told_with_numbers() -> None:
    with pytest.raises(ClipReadError) as caught:
        RandomClips(9, stride=2)(video(7), np.random.default_rng(0), 0)
    assert "x.mp4 has 7 frames, a clip of 9 frames at stride 2 needs 17" in str(caught.value)


@pytest.mark.parametrize(("rate", "frames"), [(25, [0, 1, 2]), (10, [0, 3, 5]), (50, [0, 1, 1])])
def test_fps_takes_the_nearest_frames(rate: float, frames: list[int]) -> None:
    clip = UniformClips(3, fps=rate)(video(frames[-1] + 1), np.random.default_rng(0), 0)
    assert clip == frames


def test_fps_needs_a_video_that_tells_its_rate() -> None:
    with pytest.raises(ClipReadError, match="frame rate"):
        RandomClips(2, fps=5)(video(50, fps=None), np.random.default_rng(0), 0)


def test_uniform_clips_reach_from_the_first_to_the_last_frame() -> None:
    sampler = UniformClips(2, clips_per_video=5)
    clips = [sampler(video(22), np.random.default_rng(0), number) for number in range(5)]
    assert clips == [[0, 1], [5, 6], [10, 11], [15, 16], [20, 21]]


def test_a_single_uniform_clip_is_in_the_middle() -> None:
    assert UniformClips(2)(video(22), np.random.default_rng(0), 0) == [10, 11]


@pytest.mark.parametrize("arguments", [{"length": 0}, {"length": 2, "stride": 2, "fps": 5.0}])
def test_impossible_samplers_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError):
        RandomClips(**arguments)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("sampler", [RandomClips, UniformClips])
def test_short_videos_are_looped_or_held_on_request(sampler: type[RandomClips]) -> None:
    assert sampler(5, stride=2, short="loop")(video(4), RNG, 0) == [0, 2, 0, 2, 0]
    assert sampler(5, stride=2, short="hold")(video(4), RNG, 0) == [0, 2, 3, 3, 3]
    with pytest.raises(ClipReadError) as caught:
        sampler(5, stride=2)(video(4), RNG, 0)
    assert caught.value.reason == "too short"
    with pytest.raises(ClipReadError):
        sampler(2, short="loop")(video(0), RNG, 0)
    with pytest.raises(UserError, match="choose skip, loop or hold"):
        sampler(2, short="repeat")  # type: ignore[arg-type]


@pytest.mark.parametrize("short", ["loop", "hold"])
def test_long_enough_videos_are_sampled_the_same_whatever_short_is(short: str) -> None:
    ours = RandomClips(4, 3, short=short)(video(12), np.random.default_rng(1), 0)  # type: ignore[arg-type]
    assert ours == RandomClips(4, 3)(video(12), np.random.default_rng(1), 0)


@given(num_frames=st.integers(1, 60), length=st.integers(1, 6), stride=st.integers(1, 3))
def test_all_clips_show_everything(num_frames: int, length: int, stride: int) -> None:
    needed = (length - 1) * stride + 1
    if num_frames < needed:
        return
    clips = AllClips(length, stride)(video(num_frames))
    assert all(np.diff(clip).tolist() == [stride] * (length - 1) for clip in clips)
    assert clips[0][0] == 0
    assert clips[-1][-1] == num_frames - 1
    # neither a hole nor a superfluous clip
    assert all(0 < b[0] - a[0] <= needed for a, b in pairwise(clips))
    assert len(clips) == -(-num_frames // needed)


@given(
    extra=st.integers(0, 20),
    clips=st.integers(1, 4),
    length=st.integers(1, 4),
    gap=st.integers(0, 5),
    stride=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_separate_clips_keep_their_distance(
    extra: int, clips: int, length: int, gap: int, stride: int, seed: int
) -> None:
    sampler = SeparateClips(length, clips, gap, stride)
    span = (length - 1) * stride + 1
    needed = clips * span + (clips - 1) * gap
    rng = np.random.default_rng(seed)
    frames = np.array(sampler(video(needed + extra), rng, 0)).reshape(clips, length)
    assert sampler.length == clips * length
    assert 0 <= frames.min() <= frames.max() < needed + extra
    assert (np.diff(frames, axis=1) == stride).all()
    assert (frames[1:, 0] - frames[:-1, -1] > gap).all()
    with pytest.raises(ClipReadError, match=f"needs {needed}"):
        sampler(video(needed - 1), rng, 0)


def test_all_placements_of_separate_clips_are_equally_likely() -> None:
    sampler, rng = SeparateClips(1, clips=2, min_gap=1), np.random.default_rng(0)
    drawn = [tuple(sampler(video(5), rng, 0)) for _ in range(1200)]
    counts = {pair: drawn.count(pair) for pair in set(drawn)}
    assert counts.keys() == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}
    assert min(counts.values()) > 150

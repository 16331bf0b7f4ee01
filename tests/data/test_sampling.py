from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfsup_motion.data.loading.sampling import AllClips, RandomClips, SeparateClips, UniformClips
from selfsup_motion.data.reading.frame_times import are_even
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


def stamped(times: list[float]) -> VideoInfo:
    """A video whose frames are not evenly spaced."""
    seconds = np.array(times) - times[0]
    rate = (len(times) - 1) / float(seconds[-1])
    return VideoInfo("v.mp4", len(times), rate, 64, 96, lambda: seconds)


JUMPY = [0.0, 0.04, 0.08, 0.3, 0.34, 0.38, 0.42, 1.0, *(1.04 + 0.04 * i for i in range(16))]


def of_time(times: NDArray[np.float64], start: float, length: int, fps: float) -> list[int]:
    """The nearest frames, looked for one by one; of two, the earlier."""
    wanted = [start + i / fps for i in range(length)]
    return [min(range(len(times)), key=lambda n: (round(abs(times[n] - w), 9), n)) for w in wanted]


@given(
    gaps=st.lists(st.sampled_from([0.01, 0.02, 0.04, 0.3, 0.9]), min_size=3, max_size=40),
    first=st.sampled_from([0.0, -0.5, 3.2]),
    length=st.integers(1, 6),
    fps=st.sampled_from([2.0, 5.0, 12.5, 60.0]),
    seed=st.integers(0, 9),
)
def test_fps_takes_the_frames_nearest_in_time_where_the_rate_varies(
    gaps: list[float], first: float, length: int, fps: float, seed: int
) -> None:
    info = stamped(np.cumsum([first, *gaps]).tolist())
    times = info.times
    assert times is not None
    rng = np.random.default_rng(seed)
    reach = (length - 1) / fps
    if times[-1] + 0.5 / float(info.fps or 0) <= reach:
        with pytest.raises(ClipReadError, match=r"lasts [\d.]+ seconds, a clip of"):
            RandomClips(length, fps=fps)(info, rng, 0)
        held = RandomClips(length, fps=fps, short="hold")(info, rng, 0)
        assert held == of_time(times, 0.0, length, fps)
        return
    samplers = [RandomClips(length, fps=fps), UniformClips(length, fps=fps)]
    clips = [sampler(info, rng, 0) for sampler in samplers]
    clips += [UniformClips(length, fps=fps, clips_per_video=3)(info, rng, n) for n in range(3)]
    clips += AllClips(length, fps=fps)(info)
    for clip in clips:
        assert clip == of_time(times, times[clip[0]], length, fps)
        # the last frame is near: not held for want of others
        assert times[clip[0]] + reach <= times[-1] + 0.5 / float(info.fps or 0) + 1e-6
    assert clips[2][0] == 0


def test_uniform_clips_are_spread_over_the_time_where_the_rate_varies() -> None:
    # half of the frames in the first tenth of the time
    info = stamped([*(0.01 * i for i in range(100)), *(1 + 0.09 * i for i in range(101))])
    assert info.times is not None
    starts = [
        info.times[UniformClips(2, fps=10, clips_per_video=5)(info, RNG, n)[0]] for n in range(5)
    ]
    np.testing.assert_allclose(np.diff(starts), 2.475, atol=0.1)
    (middle, _) = UniformClips(2, fps=10)(info, RNG, 0)
    assert info.times[middle] == pytest.approx(4.95, abs=0.1)


def test_every_start_is_drawn_where_the_rate_varies() -> None:
    sampler, rng = RandomClips(6, fps=5), np.random.default_rng(0)
    drawn = {sampler(stamped(JUMPY), rng, 0)[0] for _ in range(200)}
    assert drawn == set(range(7))  # from 1.0 seconds on, a second is not left


def test_strides_count_frames_where_the_rate_varies() -> None:
    assert UniformClips(3, stride=2)(stamped(JUMPY), RNG, 0) == [9, 11, 13]


def test_loops_go_on_in_time_where_the_rate_varies() -> None:
    info = stamped([0.0, 0.1, 0.5])  # each is shown for a quarter of a second on average
    assert RandomClips(8, fps=10, short="loop")(info, RNG, 0) == [0, 1, 1, 1, 2, 2, 2, 0]


@given(gap=st.integers(0, 3), clips=st.integers(1, 3), seed=st.integers(0, 20))
def test_separate_clips_keep_their_distance_where_the_rate_varies(
    gap: int, clips: int, seed: int
) -> None:
    info = stamped(JUMPY)
    sampler = SeparateClips(2, clips, gap, fps=5)
    frames = np.array(sampler(info, np.random.default_rng(seed), 0)).reshape(clips, 2)
    assert info.times is not None
    for clip in frames.tolist():
        assert clip == of_time(info.times, info.times[clip[0]], 2, 5)
    assert (frames[1:, 0] - frames[:-1, -1] > gap).all()
    with pytest.raises(ClipReadError, match=r"lasts 1\.71 seconds"):
        SeparateClips(2, 9, 0, fps=5)(info, np.random.default_rng(seed), 0)


def test_all_placements_of_separate_clips_are_equally_likely_where_the_rate_varies() -> None:
    info = stamped([0.0, 0.1, 0.2, 0.8, 1.0])
    sampler, rng = SeparateClips(1, clips=2, min_gap=1, fps=10), np.random.default_rng(0)
    drawn = [tuple(sampler(info, rng, 0)) for _ in range(1200)]
    counts = {pair: drawn.count(pair) for pair in set(drawn)}
    assert counts.keys() == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}
    assert min(counts.values()) > 150


@pytest.mark.parametrize(
    ("fps", "unit"), [(25.0, 1 / 25), (30000 / 1001, 1e-3), (60.0, 1e-3), (23.976, 1 / 90000)]
)
def test_even_frames_stay_even_when_their_times_are_rounded(fps: float, unit: float) -> None:
    times = np.round(np.arange(300) / fps / unit) * unit
    assert are_even(times, unit)
    assert not are_even(np.delete(times, 100), unit)
    assert not are_even(np.append(times[:-1], times[-1] + 3 / fps), unit)

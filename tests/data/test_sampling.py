from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsup_motion.data.sampling import RandomClips, UniformClips
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

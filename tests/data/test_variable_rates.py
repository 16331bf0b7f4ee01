"""`data.fps` on videos whose frames are not evenly spaced, from every kind of storage."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from jobs import prepare
from video_files import frame_numbers, write_video

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.preparation.videos import chosen_frames, open_video
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.concat import ConcatSource
from selfsup_motion.data.sources.index import NAME, VideoIndex
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VideoFolder

GAPS = [0, 40, 40, 220, 40, 40, 40, 580, *([40] * 22)]
TIMES = list(accumulate(GAPS))
"""Milliseconds of 30 frames."""
MILLISECONDS: dict[str, Any] = {"times": TIMES, "time_base": Fraction(1, 1000)}

FILES: dict[str, dict[str, Any]] = {
    "plain.mp4": MILLISECONDS,
    "plain.mkv": MILLISECONDS,
    "b_frames.mp4": MILLISECONDS | {"options": {"bf": "3", "g": "12"}},
    "late.mp4": MILLISECONDS | {"times": [5000 + t for t in TIMES]},
    "early.mkv": MILLISECONDS | {"times": [t - 80 for t in TIMES]},
    "stream.ts": MILLISECONDS | {"options": {"bf": "2", "g": "12"}},
    "vp9.webm": MILLISECONDS | {"codec": "libvpx-vp9", "options": {"b": "500k"}},
    "live.webm": MILLISECONDS
    | {"codec": "libvpx", "options": {"b": "500k"}, "muxing": {"live": "1"}},
}


def one(root: Path, name: str) -> Path:
    try:
        write_video(root / name, **FILES[name])
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {FILES[name]['codec']}")
    return root


def check(source: Source, fps: float, first_frame: int = 0) -> None:
    """Clips have the frames that are nearest in time, and say so."""
    times = np.array(TIMES[first_frame:]) / 1000
    for clip in range(3):
        numbers = UniformClips(6, fps=fps, clips_per_video=3)(
            source.info(0), np.random.default_rng(0), clip
        )
        start = times[numbers[0]]
        for i, number in enumerate(numbers):
            distance = np.abs(times - (start + i / fps))
            assert distance[number] <= distance.min() + 1e-3
        read = source.read(0, numbers)
        assert frame_numbers(read.frames) == [first_frame + n for n in numbers]
        if read.times is not None:
            np.testing.assert_allclose(np.diff(read.times), np.diff(times[numbers]), atol=2e-3)


@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_nearest_in_time(tmp_path: Path, name: str) -> None:
    source = VideoFolder(one(tmp_path, name))
    info = source.info(0)
    assert info.times is not None
    np.testing.assert_allclose(info.times, np.array(TIMES) / 1000, atol=1e-3)
    check(source, 5)
    check(source, 12.5)


def test_a_clip_from_the_first_frame_has_the_frames_that_prepare_extracts(tmp_path: Path) -> None:
    source = VideoFolder(one(tmp_path, "plain.mp4"))
    table = open_video(tmp_path, "plain.mp4").table
    (clip,) = (
        UniformClips(10, fps=5, clips_per_video=2)(source.info(0), np.random.default_rng(0), 0),
    )
    assert clip[0] == 0
    assert sorted(set(clip)) == chosen_frames(table, 5, "plain.mp4").tolist()


def with_index(root: Path, outdated: bool) -> Source:
    prepare("index", root=root / "v", output=root / "index")
    if outdated:  # as an earlier version wrote it
        index = VideoIndex.load(root / "index")
        index.more.clear()
        index.save(root / "index" / NAME)
    return VideoFolder(root / "v", index=root / "index")


def as_shards(root: Path, outdated: bool) -> Source:
    prepare("shards", root=root / "v", output=root / "out", picture="png", flow=None)
    if outdated:
        index = VideoIndex.load(root / "out")
        del index.more["uneven"]
        index.save(root / "out" / NAME)
    return ClipShards(str(root / "out"), flow=None)


def of_two(root: Path, outdated: bool) -> Source:
    return ConcatSource({"a": VideoFolder(root / "v")})


@pytest.mark.parametrize("outdated", [False, True])
@pytest.mark.parametrize("kind", [with_index, as_shards, of_two])
def test_indices_shards_and_mixtures_know_the_times(
    tmp_path: Path, kind: Callable[[Path, bool], Source], outdated: bool
) -> None:
    one(tmp_path / "v", "plain.mp4")
    check(kind(tmp_path, outdated), 5)


def test_spans_of_lists_count_from_their_own_beginning(tmp_path: Path) -> None:
    one(tmp_path, "plain.mp4")
    (tmp_path / "list.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nx,plain,0.2,1.5,train\n"
    )
    source = VideoFolder(tmp_path, lists=["list.csv"])
    assert source.info(0).num_frames == 17
    check(source, 10, first_frame=3)


def test_constant_rates_are_sampled_by_number_and_open_nothing(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "a.mp4", options={"bf": "2"})
    write_video(tmp_path / "v" / "b.mkv", times=[33 * n + n // 3 for n in range(30)],
                time_base=Fraction(1, 1000))  # fmt: skip
    for source in (VideoFolder(tmp_path / "v"), with_index(tmp_path, False),
                   as_shards(tmp_path, False)):  # fmt: skip
        for index in range(2):
            info = source.info(index)
            assert info.look_up_times is None
            step = float(info.fps or 0) / 10
            expected = np.floor(np.arange(4) * step + 0.5).astype(int)
            clip = RandomClips(4, fps=10)(info, np.random.default_rng(3), 0)
            assert (np.array(clip) - clip[0]).tolist() == expected.tolist()

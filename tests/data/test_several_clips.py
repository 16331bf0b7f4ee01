"""Several clips of one video that may overlap: where they lie, and videos that have no room."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from video_files import frame_numbers, write_video

from selfsup_motion.data.loading.several_clips import SeveralClips
from selfsup_motion.data.reading.timed_video import TimedVideo
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.errors import ClipReadError, UserError


def info(frames: int, times: np.ndarray | None = None) -> VideoInfo:
    return VideoInfo("v.mp4", frames, 10.0, 8, 8, None if times is None else lambda: times)


def starts(sampler: SeveralClips, video: VideoInfo, seed: int) -> list[int]:
    frames = sampler(video, np.random.default_rng(seed), 0)
    assert len(frames) == sampler.length == sampler.clips * sampler.clip_length
    return frames[:: sampler.clip_length]


def test_clips_start_anywhere_and_come_in_the_order_of_time():
    sampler = SeveralClips(3, clips=3, stride=2)
    found = np.array([starts(sampler, info(14), seed) for seed in range(400)])
    assert (np.diff(found, axis=1) >= 0).all()
    counts = np.bincount(found.ravel(), minlength=10)
    assert len(counts) == 10  # the last clip ends on frame 13
    assert counts.min() > 80  # of 120 each
    frames = sampler(info(14), np.random.default_rng(0), 0)
    assert np.diff(frames[:3]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("low", "high", "timed"), [(1, None, False), (None, -1, True), (-1, 2, False), (1, 1, True)]
)
def test_all_placements_that_keep_the_gaps_are_equally_likely(low, high, timed):
    sampler = SeveralClips(2, clips=3, min_gap=low, max_gap=high, fps=10 if timed else None)
    video = info(10, np.arange(10) / 10 if timed else None)
    wanted = [
        (a, b, c)
        for a in range(9)
        for b in range(a, 9)
        for c in range(b, 9)
        if all((low is None or gap >= low) and (high is None or gap <= high)
               for gap in (b - a - 2, c - b - 2))
    ]  # fmt: skip
    count = 40 * len(wanted)
    found = Counter(tuple(starts(sampler, video, seed)) for seed in range(count))
    assert set(found) == set(wanted)
    # 40 of each, give or take five deviations
    assert max(abs(n - 40) for n in found.values()) < 5 * 40**0.5


def test_videos_without_room_are_named():
    with pytest.raises(ClipReadError, match=r"v.mp4 has 5 frames, a clip of 6 frames .* needs 6"):
        starts(SeveralClips(6, clips=2), info(5), 0)
    assert starts(SeveralClips(6, clips=2, short="hold"), info(5), 0) == [0, 0]
    gapped = SeveralClips(4, clips=3, min_gap=2)
    assert starts(gapped, info(16), 0) == [0, 6, 12]
    for short in ("skip", "loop"):
        gapped.short = short
        with pytest.raises(ClipReadError, match=r"has 15 frames, in which 3 clips of 4 frames do"):
            starts(gapped, info(15), 0)
    with pytest.raises(UserError, match="min_gap=3 of the clip sampler is larger than max_gap=2"):
        SeveralClips(4, min_gap=3, max_gap=2)
    with pytest.raises(UserError, match="clips of the clip sampler must be at least 1"):
        SeveralClips(4, clips=0)


def test_four_clips_that_overlap_are_read_without_decoding_a_frame_twice(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", 30, options={"g": "12", "bf": "2"})
    decoded: Counter[int] = Counter()
    decode = TimedVideo._decode_from

    def counted(self, *arguments):
        for frame in decode(self, *arguments):
            decoded[frame.pts] += 1
            yield frame

    monkeypatch.setattr(TimedVideo, "_decode_from", counted)
    source = VideoFolder(tmp_path)
    video = source.info(0)
    decoded.clear()  # the file's table is made from its packets and first frames
    frames = SeveralClips(8, 4)(video, np.random.default_rng(1), 0)
    assert len(set(frames)) < len(frames) == 32
    assert frame_numbers(source.read(0, frames).frames) == frames
    assert set(decoded.values()) == {1}
    assert len(set(frames)) <= len(decoded) <= 30

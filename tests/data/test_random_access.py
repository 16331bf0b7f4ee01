"""Each frame read alone is the frame of sequential decoding, to the bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from selfsup_motion.data.reading.decoding import VideoFile

COUNT, HEIGHT, WIDTH = 90, 96, 128
Pictures = list[NDArray[np.uint8]]


def fade() -> Iterator[NDArray[np.uint8]]:
    """Grey that grows lighter: encoders predict it by weights, from any frame."""
    for i in range(COUNT):
        yield np.full((HEIGHT, WIDTH, 3), 8 + 2 * i, np.uint8)


def pan() -> Iterator[NDArray[np.uint8]]:
    """A picture of stripes and dots that moves, jumps back and is shown anew."""
    rng = np.random.default_rng(1)
    wide = np.kron(rng.integers(0, 255, (HEIGHT // 4, WIDTH // 2, 3), np.uint8),
                   np.ones((4, 8, 1), np.uint8))  # fmt: skip
    for i in range(COUNT):
        left = 3 * i % WIDTH
        yield np.ascontiguousarray(wide[:, left : left + WIDTH])


def refresh(more: str = "") -> dict[str, Any]:
    return {"options": {"x264-params": f"intra-refresh=1:keyint=15{more}"}}


def x265(parameters: str) -> dict[str, Any]:
    return {"codec": "libx265", "options": {"x265-params": f"{parameters}:log-level=none"}}


OPEN = {"options": {"x264-params": "open-gop=1:bframes=3:keyint=12:ref=5:b-pyramid=2:weightp=2"}}
MPEG = {"bf": "2", "g": "12", "b": "2M"}
FILES: dict[str, dict[str, Any]] = {
    "refresh.mp4": refresh(),
    "refresh.mkv": refresh(),
    "refresh.ts": refresh(":bframes=0"),
    "refresh.flv": refresh(":bframes=2:ref=4"),
    "open.mp4": OPEN,
    "open.ts": OPEN,
    "fields.ts": {"options": {"x264-params": "bframes=3:keyint=12:tff=1"}},
    "open265.mkv": x265("open-gop=1:keyint=12:bframes=4:ref=4"),
    "refresh265.mp4": x265("intra-refresh=1:keyint=15"),
    "mpeg1.mpg": {"codec": "mpeg1video", "options": MPEG},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": MPEG},
    "mpeg2.ts": {"codec": "mpeg2video", "options": MPEG},
    "mpeg4.mp4": {"codec": "mpeg4", "options": MPEG},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "b": "500k", "lag-in-frames": "16"}},
    "av1.mkv": {
        "codec": "libsvtav1",
        "options": {"preset": "10", "svtav1-params": "keyint=16:irefresh-type=1"},
    },
}


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """SVT-AV1 gives a process of root real-time priority, for ever: all others would wait."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0)
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread), before, os.sched_param(0))


def encode(path: Path, content: Any, codec: str = "libx264", **arguments: Any) -> Path:
    try:
        with ordinary_priority(), av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.options = {"threads": "1", **arguments["options"]}
            for image in content():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    return path


def sequential(path: Path) -> tuple[list[int], Pictures]:
    """Times and pictures of all frames that come out of the decoder."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [int(f.pts or 0) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def check(path: Path) -> VideoFile:
    """Each frame alone, and clips, against sequential decoding."""
    times, pictures = sequential(path)
    video = VideoFile(path, path.name)
    if not video.table.counted:
        assert video.table.pts.tolist() == times
    assert len(video.table.pts) == len(pictures)
    for index, picture in enumerate(pictures):
        np.testing.assert_array_equal(video.read([index], None)[0], picture, f"frame {index}")
    rng = np.random.default_rng(0)
    for _ in range(5):
        indices = np.sort(rng.choice(len(pictures), 5, replace=False)).tolist()
        for index, frame in zip(indices, video.read(indices, None), strict=True):
            np.testing.assert_array_equal(frame, pictures[index], f"frame {index} of {indices}")
    return video


@pytest.mark.parametrize("content", [fade, pan])
@pytest.mark.parametrize("name", FILES)
def test_a_frame_is_the_same_wherever_decoding_begins(
    tmp_path: Path, name: str, content: Any
) -> None:
    check(encode(tmp_path / name, content, **FILES[name]))


def test_decoding_begins_at_any_key_frame_of_an_ordinary_file(tmp_path: Path) -> None:
    closed = {"options": {"x264-params": "keyint=10:min-keyint=10:scenecut=0"}}
    files = {"closed.mp4": closed, "open.mkv": OPEN}
    files |= {name: FILES[name] for name in ("mpeg2.ts", "open265.mkv")}
    for name, arguments in files.items():
        video = VideoFile(encode(tmp_path / name, pan, **arguments), name)
        with av.open(str(tmp_path / name)) as container:
            marked = [int(p.pts or 0) for p in container.demux(video=0) if p.size and p.is_keyframe]
        assert video.table.key_pts.tolist() == sorted(marked)
        assert len(marked) > 5


def copy(source: Path, path: Path, *, skip: int, mark_all: bool = False) -> Path:
    """The packets from the key frame number `skip` on, as in a cut without encoding anew."""
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = container.streams.video[0]
        copied = out.add_stream_from_template(stream)
        keys = -1
        for packet in container.demux(stream):
            keys += packet.is_keyframe
            if packet.size and keys >= skip:
                packet.is_keyframe = packet.is_keyframe or mark_all
                packet.stream = copied
                out.mux(packet)
    return path


@pytest.mark.parametrize("name", ["refresh.mp4", "open.mp4", "open265.mkv"])
def test_videos_cut_without_encoding_have_the_frames_that_can_be_shown(
    tmp_path: Path, name: str
) -> None:
    whole = encode(tmp_path / f"whole_{name}", pan, **FILES[name])
    video = check(copy(whole, tmp_path / name, skip=2))
    assert 20 < len(video.table.pts) < COUNT - 15


def test_packets_that_are_all_marked_as_key_frames_are_not_believed(tmp_path: Path) -> None:
    for codec in ("mpeg2video", "mpeg4", "libx264"):
        options = {"g": "12", "bf": "0"} if codec == "libx264" else {**MPEG, "bf": "0"}
        whole = encode(tmp_path / f"{codec}.mkv", pan, codec=codec, options=options)
        video = check(copy(whole, tmp_path / f"{codec}_all.mkv", skip=0, mark_all=True))
        assert 4 < len(video.table.key_pts) < 15


def test_no_other_test_waits_for_this_process(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    encode(tmp_path / "av1.mkv", fade, **FILES["av1.mkv"])
    assert os.sched_getscheduler(0) == before

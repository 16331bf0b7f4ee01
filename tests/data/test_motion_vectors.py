"""Motion vectors: read from files, put on maps, stored, and chosen for clips."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from jobs import prepare
from numpy.typing import NDArray
from video_files import truncate, write_video

from selfsup_motion.data.loading.context_motion import CompressedInfo, ContextMotionClips
from selfsup_motion.data.motion_vectors.blocks import FrameVectors, vector_map
from selfsup_motion.data.motion_vectors.in_memory import EncodedVectors
from selfsup_motion.data.motion_vectors.video import CompressedVideo
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources.compressed import CompressedVideos
from selfsup_motion.data.sources.encoded import EncodedClips, encode
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import ClipReadError, UserError

FAST = {"g": "12", "deadline": "realtime", "cpu-used": "8"}
NO_B = {"bf": "0", "g": "12", "sc_threshold": "0"}
B_FRAMES = {**NO_B, "bf": "2", "b_strategy": "0", "x264-params": "b-pyramid=0"}


def sliding(step: tuple[int, int], count: int = 10) -> NDArray[np.uint8]:
    """A texture (count, 3, 64, 96) that moves by `step` (right, down) from frame to frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (30, 40), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = []
    for t in range(count):
        top, left = 80 - step[1] * t, 80 - step[0] * t
        frames.append(coarse[top : top + 64, left : left + 96])
    return np.stack(frames)[:, None].repeat(3, 1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_vectors_are_the_motion_right_and_down(codec: str) -> None:
    video = EncodedVectors(encode(sliding((3, -2)), codec, 12), "a")  # type: ignore[arg-type]
    frame = video.vectors([5])[0]
    moved = vector_map(frame)[:, 16:-16, 16:-16]
    assert frame.kind == "P"
    np.testing.assert_array_equal(np.median(moved, (1, 2)), [3, -2])
    assert video.no_vectors is None
    assert video.key_frames.tolist() == [0]


def test_vectors_behind_b_frames_count_the_frames_between(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 24, options=B_FRAMES)
    video = CompressedVideo(tmp_path / "a.mp4", "a.mp4")
    frames = video.vectors(range(24))
    assert [(f.kind, f.distance) for f in frames[:8]] == [
        ("I", 1), ("B", 1), ("B", 2), ("P", 3), ("B", 1), ("B", 2), ("P", 3), ("B", 1),
    ]  # fmt: skip
    for index, frame in zip((20, 4, 4), video.vectors([20, 4, 4]), strict=True):
        np.testing.assert_array_equal(frame.blocks, frames[index].blocks)
        assert frame.distance == frames[index].distance
    assert video.key_frames.tolist() == [0, 12]
    block = np.array([[0, 0, 16, 16, -12, 6]], np.int16)
    late = FrameVectors("P", block, 4, 3, (16, 32))
    assert vector_map(late)[:, 8, 8].tolist() == [-1, 0.5]
    assert vector_map(late, published=True)[:, 8, 8].tolist() == [-3, 1]


def test_vectors_out_of_the_frame_count_as_none_and_maps_of_cells_are_pixels_of_the_full_map() -> (
    None
):
    rng = np.random.default_rng(0)
    tops, lefts = np.meshgrid(np.arange(0, 48, 8), np.arange(0, 64, 16), indexing="ij")
    width, height = np.full_like(tops, 16), np.full_like(tops, 8)
    moved = rng.integers(-40, 40, (2, 6, 4))
    blocks = np.stack([lefts, tops, width, height, *moved], -1).reshape(-1, 6).astype(np.int16)
    frame = FrameVectors("P", blocks, 4, 1, (46, 60))
    slow = np.zeros((2, 46, 60), np.float32)
    for x, y, w, h, dx, dy in blocks.tolist():
        for row in range(y, min(y + h, 46)):
            for column in range(x, min(x + w, 60)):
                if 0 <= row - int(dy / 4) < 46 and 0 <= column - int(dx / 4) < 60:
                    slow[:, row, column] = dx / 4, dy / 4
    full = vector_map(frame)
    np.testing.assert_array_equal(full, slow)
    for cell in (3, 4, 16):
        np.testing.assert_array_equal(
            vector_map(frame, cell=cell), full[:, cell // 2 :: cell, cell // 2 :: cell]
        )
    turned = vector_map(FrameVectors("P", blocks, 4, 1, (46, 60), quarters=1))
    np.testing.assert_array_equal(turned[0], np.rot90(full[1]))
    np.testing.assert_array_equal(turned[1], np.rot90(-full[0]))


@pytest.mark.parametrize(
    ("name", "codec", "options", "reason"),
    [
        ("a.webm", "libvpx-vp9", FAST, "coded as vp9"),
        ("a.avi", "mjpeg", {"color_range": "pc", "strict": "unofficial"}, "coded as mjpeg"),
        ("a.mp4", "libx264", {"g": "1"}, "every frame is coded by itself"),
    ],
)
def test_videos_without_vectors_are_told_before_training(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], reason: str
) -> None:
    write_video(tmp_path / name, 6, codec=codec, options=options)
    with pytest.raises(UserError, match=f"{reason}.*H.264 or MPEG-4 with P frames"):
        CompressedVideos(tmp_path)
    with pytest.raises(ClipReadError, match="has no motion vectors"):
        CompressedVideo(tmp_path / name, name).vectors([1])


def test_stored_vectors_are_those_of_the_videos(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    write_video(root / "a" / "one.mp4", 70, options=NO_B)
    write_video(root / "b.mp4", 30, options=B_FRAMES)
    write_video(root / "intra.mp4", 5, options={"g": "1"})
    truncate(write_video(root / "cut.mp4"), 0.5)
    outcome = prepare("motion_vectors", root=root, output=output)
    assert (outcome.good, outcome.bad) == (2, {"no vectors": 1, "no video": 1})
    assert "intra.mp4" in (output / "bad_files.csv").read_text()
    (output / "b.mp4.npz").write_bytes(b"")
    again = prepare("motion_vectors", root=root, output=output)
    assert (again.done, again.spoilt) == (1, 1)

    clips = ContextMotionClips(4, 2, motion_length=3, negatives=2)
    settings = {"motion_length": 3, "negatives": 2}
    read = CompressedVideos(root, **settings)  # type: ignore[arg-type]
    stored = CompressedVideos(root, vectors_root=output, **settings)  # type: ignore[arg-type]
    stored = pickle.loads(pickle.dumps(stored))
    for index in (0, 1):
        info = read.info(index)
        assert isinstance(info, CompressedInfo)
        assert stored.info(index).key_frames.tolist() == info.key_frames.tolist()
        frames = clips(info, np.random.default_rng(1), 0)
        one, other = read.read(index, frames), stored.read(index, frames)
        assert one.frames.shape == (5, 3, 64, 96)
        assert one.labels["vectors"].shape == (9, 2, 16, 24)
        np.testing.assert_array_equal(one.labels["vectors"], other.labels["vectors"])
    assert np.abs(one.labels["vectors"]).max() > 0
    half = CompressedVideos(root, short_side=32, **settings).read(index, frames)  # type: ignore[arg-type]
    np.testing.assert_allclose(half.labels["vectors"], one.labels["vectors"] / 2)
    with pytest.raises(ClipReadError, match=r"intra\.mp4 has no stored motion vectors"):
        stored.info(3)
    with pytest.raises(UserError, match="holds no finished motion vectors"):
        CompressedVideos(root, vectors_root=tmp_path)


def test_clips_come_with_a_key_frame_and_motion_from_where_they_are_told() -> None:
    keys = np.array([0, 30, 60])
    info = CompressedInfo("a", 100, 25.0, 64, 64, None, lambda: keys)
    clips = ContextMotionClips(16, 4, clips_per_video=3)
    starts = set()
    for seed in range(60):
        frames = clips(info, np.random.default_rng(seed), 0)
        clip, key, windows = frames[:16], frames[16], np.reshape(frames[17:], (4, 8))
        assert len(frames) == clips.length
        assert clip == list(range(clip[0], clip[0] + 61, 4))
        assert windows[0].tolist() == list(range(clip[-1] + 3, clip[-1] + 11))
        assert key in keys
        assert clip[0] - 5 <= key <= clip[-1] + 5
        for window in windows[1:]:
            assert window[0] >= 0
            assert window[-1] < 100
            assert not set(window.tolist()) & set(windows[0].tolist())
        starts.add(clip[0])
    assert min(starts) == 0
    assert max(starts) == 29
    even = ContextMotionClips(16, 4, clips_per_video=3, train=False)
    assert [even(info, np.random.default_rng(0), i)[0] for i in range(3)] == [0, 14, 29]
    rare = CompressedInfo("a", 100, 25.0, 64, 64, None, lambda: np.array([0]))
    assert clips(rare, np.random.default_rng(1), 0)[16] == 0

    short = CompressedInfo("a", 70, 25.0, 64, 64, None, lambda: keys)
    with pytest.raises(ClipReadError, match="needs 71: use a shorter clip"):
        clips(short, np.random.default_rng(0), 0)
    with pytest.raises(UserError, match="CMD needs videos with motion vectors"):
        clips(VideoInfo("a", 100, 25.0, 64, 64), np.random.default_rng(0), 0)


def test_encoded_worlds_look_and_move_like_the_worlds() -> None:
    world = ToyWorld(3, size=64, num_frames=24)
    encoded = EncodedClips(world, motion_length=1, negatives=0, cell=1)
    assert encoded.info(1).key_frames.tolist() == [0, 12]
    errors, still = [], []
    for index in range(3):
        clip = encoded.read(index, [9, 3, 9])
        true = world.read(index, [9, 3])
        assert np.abs(clip.frames.astype(int) - true.frames).mean() < 6
        assert clip.labels["action"] == true.labels["action"]
        back = world.read(index, [9, 8])
        assert back.flow is not None
        assert back.valid is not None
        moved, known = -back.flow[0], back.valid[0]
        errors.append(np.linalg.norm(clip.labels["vectors"][0] - moved, axis=0)[known].mean())
        still.append(np.linalg.norm(moved, axis=0)[known].mean())
    assert np.mean(errors) < np.mean(still)
    np.testing.assert_array_equal(
        encoded.read(2, [9, 3, 9]).labels["vectors"],
        pickle.loads(pickle.dumps(encoded)).read(2, [9, 3, 9]).labels["vectors"],
    )
    with pytest.raises(UserError, match="even sides"):
        EncodedClips(ToyWorld(1, size=33, num_frames=2)).read(0, [0, 1])

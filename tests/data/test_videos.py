"""VideoFolder: the frames asked for, from every kind of file, and what happens to bad ones."""

from __future__ import annotations

import logging
import pickle
from fractions import Fraction
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from hydra.utils import instantiate
from patience import PATIENCE
from torch import Tensor
from video_files import damage, frame_numbers, truncate, write_video

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.data.view import View
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.settings.compose import compose

B_FRAMES = {"bf": "3", "g": "12"}
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=10"}
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "10", "b": "500k"}
MPEG4 = {"bf": "2", "g": "10", "b": "4M"}
VARYING = [40 * t for t in accumulate(1 + (i * 7) % 5 for i in range(30))]

FILES: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"options": B_FRAMES},
    "b_frames.avi": {"options": B_FRAMES},  # no time stamps
    "raw.h264": {"options": B_FRAMES},  # no container
    "open_gop.mkv": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "no_true_key_frames.ts": {"options": REFRESH},
    "variable_rate.mp4": {
        "options": B_FRAMES,
        "times": VARYING,
        "time_base": Fraction(1, 1000),
    },
    "late_start.mp4": {"options": B_FRAMES, "times": range(500, 530)},
    "late_start.mkv": {"options": B_FRAMES, "times": range(500, 530)},
    "hidden_frames.webm": {"codec": "libvpx", "options": HIDDEN},
    "vp9.webm": {"codec": "libvpx-vp9", "options": HIDDEN},
    "mpeg4.mp4": {"codec": "mpeg4", "options": MPEG4},
    "mpeg4.avi": {"codec": "mpeg4", "options": MPEG4},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": MPEG4},
}


def folder_of(root: Path, **kwargs: Any) -> VideoFolder:
    extensions = (".mp4", ".avi", ".h264", ".mkv", ".ts", ".webm", ".mpg", ".mov")
    return VideoFolder(root, extensions=extensions, **kwargs)


def write_or_skip(path: Path, **kwargs: Any) -> Path:
    try:
        return write_video(path, **kwargs)
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {kwargs.get('codec', 'libx264')}")


@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_asked_for(tmp_path: Path, name: str) -> None:
    write_or_skip(tmp_path / name, **FILES[name])
    source = folder_of(tmp_path)

    assert source.info(0).num_frames == 30
    every = [frame_numbers(source.read(0, [index]).frames) for index in range(30)]
    assert every == [[index] for index in range(30)]
    for indices in ([29, 3, 17, 3], [9, 10, 11, 12], [19], [0, 29]):
        assert frame_numbers(source.read(0, indices).frames) == indices


def test_times_and_rate_follow_the_time_stamps(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", **FILES["variable_rate.mp4"])
    source = folder_of(tmp_path)

    times = source.read(0, [0, 1, 2, 29]).times
    expected = [(VARYING[i] - VARYING[0]) / 1000 for i in (0, 1, 2, 29)]
    np.testing.assert_allclose(times, expected, atol=1e-3)  # type: ignore[arg-type]
    assert source.info(0).fps == pytest.approx(29 / expected[-1])


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_flags_are_honoured(tmp_path: Path, angle: int) -> None:
    write_video(tmp_path / "upright.mov")
    write_video(tmp_path / "turned.mov", rotation=angle)
    source = folder_of(tmp_path)

    turned, upright = source.read(0, [4]).frames[0], source.read(1, [4]).frames[0]
    assert source.info(0).height == turned.shape[1]
    # the flag says how far the picture is to be turned counter-clockwise
    np.testing.assert_array_equal(turned, np.rot90(upright, angle // 90, axes=(1, 2)))


def test_frames_are_resized_to_the_short_side(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    for short_side, size in ((32, (32, 48)), (96, (96, 144))):
        source = folder_of(tmp_path, short_side=short_side)
        clip = source.read(0, [7, 8])
        info = source.info(0)
        assert clip.frames.shape == (2, 3, *size)
        assert (info.height, info.width) == size
        assert frame_numbers(clip.frames) == [7, 8]


def test_flow_leads_from_each_frame_to_the_next(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", options={"crf": "10"})
    clip = folder_of(tmp_path, flow="dis", flow_preset="medium").read(0, [2, 3, 5])

    assert clip.flow is not None
    assert clip.flow_origin == "estimated"
    assert clip.valid is not None
    assert clip.flow.shape == (2, 2, 64, 96)
    # the stripes move left, 3 pixels a frame
    stripes = clip.flow[:, 0, 8:-8, 60:-12]
    np.testing.assert_allclose(np.median(stripes, axis=(1, 2)), [-3, -6], atol=0.6)


def test_the_best_of_several_streams_is_taken_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream, size in zip(streams, (32, 64), strict=True):
            stream.width = stream.height = size
            stream.disposition = Disposition.default if size == 64 else 0
            stream.pix_fmt = "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(5):
            for stream in streams:
                image = rng.integers(0, 255, (stream.height, stream.width, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    with caplog.at_level(logging.INFO):
        info = folder_of(tmp_path).info(0)

    assert (info.height, info.width) == (64, 64)
    assert any("two.mkv has 2 video streams" in message for message in caplog.messages)


@pytest.mark.parametrize("how", ["empty", "text", "no_index", "sound"])
def test_unreadable_files_are_named_with_the_reason(tmp_path: Path, how: str) -> None:
    path = tmp_path / "sub" / "bad.mp4"
    write_video(path)
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a video")
    elif how == "no_index":
        truncate(path, 0.6)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate = 16000
            container.mux(stream.encode(silence))
            container.mux(stream.encode())
    with pytest.raises(ClipReadError, match=r"^sub/bad\.mp4 (cannot be opened|has no video)"):
        folder_of(tmp_path).info(0)


def test_damaged_data_gives_the_true_frames_or_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", options={"g": "10", "bf": "2"})
    truth = folder_of(tmp_path).read(0, range(30)).frames
    damage(path, 0.4, 0.402)
    source = folder_of(tmp_path)

    lost = []
    for index in range(30):
        try:
            frame = source.read(0, [index]).frames[0]
        except ClipReadError as error:
            assert f"a.mp4 is damaged: frame {index} of 30" in str(error)  # noqa: PT017
            lost.append(index)
        else:
            np.testing.assert_array_equal(frame, truth[index])
    assert lost
    assert set(lost) <= set(range(10, 20))  # one group of pictures


def test_missing_frames_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    with pytest.raises(ClipReadError, match="has 30 frames, there is no frame 30"):
        folder_of(tmp_path).read(0, [29, 30])


def test_splits_share_no_video_and_a_single_video_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "one" / "a.mp4")
    for name in ("a.mp4", "b/b.mp4", "c.mp4"):
        write_video(tmp_path / "three" / name, num_frames=2)

    def keys(root: str, split: Any, **kwargs: Any) -> set[str]:
        source = folder_of(tmp_path / root, split=split, **kwargs)
        return {source.info(i).key for i in range(len(source))}

    train, val = keys("three", "train"), keys("three", "val")
    assert train | val == keys("three", "all") == {"a.mp4", "b/b.mp4", "c.mp4"}
    assert train
    assert val
    assert not train & val
    assert keys("three", "train", val_root=tmp_path / "one") == train | val
    assert keys("three", "val", val_root=tmp_path / "one") == {"a.mp4"}
    assert not caplog.messages
    assert keys("one", "train") == keys("one", "val")
    assert any("holds a single video" in message for message in caplog.messages)


def read_in_another_process(source: VideoFolder, results: Any) -> None:
    results.put(source.read(0, [3, 20]).frames.tobytes())


def test_sources_survive_a_fork_and_pickling(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", options=B_FRAMES)
    source = folder_of(tmp_path, flow="dis")
    here = source.read(0, [3, 20]).frames.tobytes()  # opens the file before the fork

    context = get_context("fork")
    results = context.Queue()
    process = context.Process(target=read_in_another_process, args=(source, results))
    process.start()
    there = results.get(timeout=PATIENCE)
    process.join()
    copy = pickle.loads(pickle.dumps(source))  # as for a spawned process

    assert here == there == copy.read(0, [3, 20]).frames.tobytes()
    assert source.read(0, [3, 20]).frames.tobytes() == here


def test_pickled_source_is_small(tmp_path: Path) -> None:
    for index in range(300):
        (tmp_path / f"{index:04}.mp4").touch()
    assert len(pickle.dumps(folder_of(tmp_path, flow="dis"))) < 300 * 9 + 300 * 8 + 2000


class Shrink(View):
    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        return {"image": torch.from_numpy(np.ascontiguousarray(clip.frames[0]))}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_corrupt_file_does_not_stop_the_loader(
    tmp_path: Path, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(8):
        write_video(tmp_path / f"{index}.mp4")
    truncate(tmp_path / "3.mp4", 0.5)
    data = ClipDataModule(
        source=folder_of(tmp_path),
        val_source=folder_of(tmp_path),
        sampler=RandomClips(2, clips_per_video=2),
        val_sampler=UniformClips(2),
        view=Shrink(),
        val_view=Shrink(),
        batch_size=4,
        num_workers=num_workers,
    )
    loader = data.train_dataloader()
    batches = [batch for _ in range(2) for batch in loader]
    loader.close()

    assert [batch["image"].shape for batch in batches] == [(4, 3, 64, 96)] * 8
    assert "3.mp4" not in {key for batch in batches for key in batch["key"]}
    assert data.skipped_files == 1
    assert sum("3.mp4 cannot be opened" in message for message in caplog.messages) == 1


def test_too_short_videos_are_refused_before_training(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, num_frames=7)
    source = folder_of(tmp_path)
    data = ClipDataModule(
        source=source,
        val_source=source,
        sampler=RandomClips(9),
        val_sampler=UniformClips(9),
        view=Shrink(),
        val_view=Shrink(),
        batch_size=1,
    )
    with pytest.raises(
        UserError, match=r"None of the 2 validation videos .* has 7 frames, .* needs 9"
    ):
        data.setup("fit")


def test_configuration_builds_what_it_says(tmp_path: Path) -> None:
    for index in range(4):
        write_video(tmp_path / f"{index}.mp4")
    config = compose(["experiment=cmp", "data=videos", f"data.root={tmp_path}", "data.flow=null"])
    config.view = config.val_view = {"_target_": "test_videos.Shrink"}
    config.data.short_side = 32
    config.data.batch_size = 3
    config.data.num_workers = 0
    data = instantiate(config.data.module)
    data.setup("fit")

    assert next(iter(data.train_dataloader()))["image"].shape == (3, 3, 32, 48)
    assert sum(len(batch["key"]) for batch in data.val_dataloader()) == 4  # of one video


def sequential(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in frames]


@pytest.mark.parametrize("folder", [pytest.param("videos", marks=pytest.mark.slow), "videos_codec"])
def test_real_files_agree_with_sequential_decoding(shared: Path, folder: str) -> None:
    root = shared / "data" / folder
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    source = folder_of(root)
    rng = np.random.default_rng(0)
    checked = 0
    for index in range(len(source)):
        info = source.info(index)
        path = root / info.key
        if path.stat().st_size > 700_000 or info.key == "corrupted.mp4" or "rot" in info.key:
            continue
        reference = sequential(path)
        assert info.num_frames == len(reference), info.key
        indices = sorted(rng.integers(info.num_frames, size=6).tolist())
        for clip_indices in (indices, [info.num_frames - 1]):
            frames = source.read(index, clip_indices).frames.transpose(0, 2, 3, 1)
            for frame, number in zip(frames, clip_indices, strict=True):
                assert frame.tobytes() == reference[number], f"{info.key} frame {number}"
        checked += 1
    assert checked >= 6


def test_real_damaged_file_is_good_up_to_the_damage(shared: Path) -> None:
    root = shared / "data" / "videos_codec"
    if not (root / "corrupted.mp4").is_file():
        pytest.skip(f"needs {root}")
    source = folder_of(root)
    index = next(i for i in range(len(source)) if source.info(i).key == "corrupted.mp4")

    assert source.read(index, [0, 20]).frames.shape[0] == 2
    with pytest.raises(ClipReadError, match=r"corrupted\.mp4 is damaged: frame 40 of 50"):
        source.read(index, [40])


@pytest.mark.parametrize("short_side", [3, 99999])
def test_a_short_side_out_of_range_is_refused_by_its_value(tmp_path: Path, short_side: int) -> None:
    write_video(tmp_path / "a.mp4", num_frames=2)
    with pytest.raises(UserError, match=f"^data.short_side={short_side}: expected 16 to 8192"):
        folder_of(tmp_path, short_side=short_side)


def test_a_healthy_video_that_would_become_too_large_is_not_called_damaged(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=2)  # 96×64
    with pytest.raises(ClipReadError, match=r"to a short side of 8192 .* lower short_side") as told:
        folder_of(tmp_path, short_side=8192).read(0, [0])
    assert told.value.reason == "too large"

"""Hundreds of damaged files: no crash, no hang, every one accounted for."""

from __future__ import annotations

import csv
import os
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from jobs import make_job
from recording import CountingSource, make_datamodule
from torch import Tensor
from video_files import write_video

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.preparation.work import Work
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.timed_video import MAX_PIXELS
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.data.view import View
from selfsup_motion.errors import BadFilesError, ClipReadError

ENCODES = {
    "h264.mp4": {"options": {"bf": "2", "g": "8"}},
    "h264.mkv": {"options": {"bf": "2", "g": "8"}},
    "h264.ts": {"options": {"g": "8"}},
    "h264.avi": {"options": {"bf": "2", "g": "8"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "8", "b": "200k"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "8", "b": "200k"}},
    "mpeg4.mov": {"codec": "mpeg4", "options": {"g": "8", "b": "200k"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "8"}},
}
COUNT = 520


def cut(data: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(data[: int(rng.integers(1, len(data)))])


def flip_bits(data: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(int(2 ** rng.integers(0, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def flip_header(data: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(4):
        data[int(rng.integers(min(600, len(data))))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def blank(data: bytearray, rng: np.random.Generator) -> bytes:
    begin, end = sorted(rng.integers(len(data), size=2).tolist())
    data[begin:end] = bytes(end - begin)
    return bytes(data)


def shuffle(data: bytearray, rng: np.random.Generator) -> bytes:
    edges = [0, *sorted(rng.integers(len(data), size=4).tolist()), len(data)]
    pieces = [bytes(data[a:b]) for a, b in pairwise(edges)]
    return b"".join(pieces[i] for i in rng.permutation(len(pieces)))


def repeat(data: bytearray, rng: np.random.Generator) -> bytes:
    begin, end = sorted(rng.integers(len(data), size=2).tolist())
    return bytes(data[:end] + data[begin:])


MUTATIONS = (cut, flip_bits, flip_header, blank, shuffle, repeat)


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())


def huge(path: Path) -> None:
    """An AVI whose header announces raw pictures of 12000×12000 pixels."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr24"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, "bgr24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    for height in (32, -32):  # negative: the first line is the upper one
        data = data.replace(struct.pack("<ii", 32, height), struct.pack("<ii", 12000, 12000))
    path.write_bytes(data)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than 500 damaged files, and the eight they were made from."""
    root = tmp_path_factory.mktemp("damaged")
    encodes: dict[str, bytes] = {}
    for name, options in ENCODES.items():
        try:
            encodes[name] = write_video(
                root / f"good_{name}", num_frames=20, **options
            ).read_bytes()
        except av.codec.codec.UnknownCodecError:
            continue
    rng = np.random.default_rng(0)
    names = list(encodes)
    for number in range(COUNT):
        name, mutate = names[number % len(names)], MUTATIONS[number // len(names) % len(MUTATIONS)]
        data = mutate(bytearray(encodes[name]), rng)
        (root / f"{number:03}_{mutate.__name__}_{name}").write_bytes(data)
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video\n" * 100)
    (root / "noise.mp4").write_bytes(rng.bytes(10_000))
    (root / "zeros.mkv").write_bytes(bytes(10_000))
    (root / "other_container.mp4").write_bytes(encodes["h264.mkv"])  # readable all the same
    os.mkfifo(root / "pipe.mp4")
    (root / "dead_link.mp4").symlink_to(root / "nothing")
    sound_only(root / "sound.mp4")
    huge(root / "huge.avi")
    write_video(root / "single.mp4", num_frames=1)
    return root


def named(root: Path) -> Iterator[Path]:
    return (path for path in root.iterdir() if not path.name.startswith("."))


def test_indexing_accounts_for_every_file(damaged: Path, tmp_path: Path) -> None:
    job = make_job("index", root=damaged, output=tmp_path, decode=True)
    outcome = Work(num_workers=2, time_limit=600).run(job)

    files = {path.name for path in named(damaged)}
    assert len(files) > 520
    with (tmp_path / "bad_files.csv").open(newline="") as stream:
        bad = {row["file"]: row["reason"] for row in csv.DictReader(stream)}
    source = VideoFolder(damaged, index=tmp_path)
    good = {source.info(i).key for i in range(len(source))}
    assert good | bad.keys() == files
    assert not good & bad.keys()
    assert outcome.bad == Counter(bad.values())
    assert {name for name in files if name.startswith("good_")} <= good
    assert "other_container.mp4" in good
    expected = {
        "empty.mp4": "empty",
        "text.mp4": "no video",
        "noise.mp4": "no video",
        "zeros.mkv": "no video",
        "pipe.mp4": "not a file",
        "dead_link.mp4": "missing",
        "sound.mp4": "no video",
        "huge.avi": "too large",
        "single.mp4": "too short",
    }
    assert {name: bad.get(name) for name in expected} == expected
    assert not {"crash", "too slow", "unexpected", "system"} & set(bad.values())


class Shrink(View):
    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        return {"mean": torch.tensor(float(clip.frames.mean()))}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_goes_on_past_every_damaged_file(
    damaged: Path, tmp_path: Path, num_workers: int
) -> None:
    root = tmp_path / "root"
    (root / "good").mkdir(parents=True)
    (root / "damaged").symlink_to(damaged)
    for number in range(700):  # or most replacements of a bad file would be bad as well
        (root / "good" / f"{number}.mp4").symlink_to(damaged / "good_h264.mp4")
    source = VideoFolder(root, short_side=32)
    data = ClipDataModule(
        source=source,
        val_source=CountingSource(4),
        sampler=RandomClips(2),
        val_sampler=UniformClips(2),
        view=Shrink(),
        val_view=Shrink(),
        batch_size=8,
        num_workers=num_workers,
        max_bad_fraction=1.0,
    )
    data.list_bad_files(tmp_path / "bad_files.csv")
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    loader.close()

    assert len(batches) == len(source) // 8
    assert all(len(batch["key"]) == 8 for batch in batches)
    with (tmp_path / "bad_files.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == data.skipped_files == sum(data.skipped_reasons.values())
    assert {row["set"] for row in rows} == {"train"}
    listed = {row["file"] for row in rows}
    assert len(listed) == len(rows)
    # an epoch touches all but the few that are left over at its end
    delivered = {key for batch in batches for key in batch["key"]}
    files = {f"damaged/{path.name}" for path in named(damaged)}
    assert len(files - listed - delivered) <= 7


def test_too_many_bad_files_stop_with_the_list(tmp_path: Path) -> None:
    data = make_datamodule(CountingSource(12, bad=[1, 5, 6]))
    data.list_bad_files(tmp_path / "run" / "bad_files.csv")
    data.setup("fit")
    expected = r"^[23] of the \d+ videos .*\([23] damaged\).* 10% that data\.max_bad_fraction"
    with pytest.raises(BadFilesError, match=expected) as caught:
        list(data.train_dataloader())
    listed = (tmp_path / "run" / "bad_files.csv").read_text().splitlines()
    assert listed[0] == "set,file,reason,message"
    assert 2 <= len(listed) - 1 <= 3
    assert f"All are listed in {tmp_path / 'run' / 'bad_files.csv'}." in str(caught.value)


def test_a_second_session_lists_no_file_twice(tmp_path: Path) -> None:
    for _ in range(2):
        data = make_datamodule(CountingSource(13, bad=[4]))
        data.list_bad_files(tmp_path / "bad_files.csv")
        data.setup("fit")
        list(data.train_dataloader())
    assert len((tmp_path / "bad_files.csv").read_text().splitlines()) == 2


def test_reading_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    video = VideoFile(path, "a.mp4", time_limit=30)
    video._time_limit = 0.0
    with pytest.raises(ClipReadError, match=r"a\.mp4 takes more than 0 seconds") as caught:
        video.read([20], None)
    assert caught.value.reason == "too slow"
    with pytest.raises(ClipReadError, match="takes more than"):
        VideoFile(path, "a.mp4", time_limit=0.0)


def test_the_limit_of_pixels_admits_8k() -> None:
    assert 7680 * 4320 <= MAX_PIXELS < 12000 * 12000

"""What is held out by name and cannot be used is replaced by what comes next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jobs import make_job
from torch import Tensor
from video_files import write_video

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.preparation.work import Work
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.concat import ConcatSource
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError


class Grey(View):
    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        return {"level": torch.tensor(float(clip.frames.mean()))}


def data_of(make: Callable[..., Source], **options: Any) -> ClipDataModule:
    length = options.pop("length", 2)
    return ClipDataModule(
        source=make(split="train"),
        val_source=make(split="val"),
        sampler=RandomClips(length),
        val_sampler=UniformClips(length),
        view=Grey(),
        val_view=Grey(),
        batch_size=1,
        **options,
    )


def keys(data: ClipDataModule) -> tuple[set[str], list[str]]:
    """Of an epoch of training, and of a validation."""
    train = data.train_dataloader()
    trained = {key for batch in train for key in batch["key"]}
    train.close()
    return trained, [key for batch in data.val_dataloader() for key in batch["key"]]


def frame(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), level, np.uint8))
    return path


def images(root: Path) -> Callable[..., Source]:
    for i in range(5):
        frame(root / f"{i}.png", 40 * i)
    return lambda split: ImageFolder(root, split=split)


def videos(root: Path) -> Callable[..., Source]:
    for i in range(5):
        write_video(root / f"{i}.mp4", num_frames=4)
    return lambda split: VideoFolder(root, split=split)


def listed(root: Path) -> Callable[..., Source]:
    videos(root)
    write_video(root / "not_listed.mp4", num_frames=4)
    (root / "list.txt").write_text("".join(f"{i}.mp4\n" for i in range(5)))
    return lambda split: VideoFolder(root, split=split, lists=["list.txt"])


def folders(root: Path) -> Callable[..., Source]:
    for i in range(5):
        for t in range(3):
            frame(root / f"f{i}" / f"{t}.png", 40 * i)
    return lambda split: FrameFolder(root, layout="folders", split=split)


def pairs(root: Path) -> Callable[..., Source]:
    lines = []
    for i in range(5):
        for t in range(3):
            frame(root / f"f{i}" / f"{t}.png", 40 * i)
        lines += [f"f{i}/{t}.png f{i}/{t + 1}.png none.flo\n" for t in range(2)]
    (root / "list.txt").write_text("".join(lines))
    return lambda split: FrameFolder(root, layout="pairs", split=split)


def shards(root: Path) -> Callable[..., Source]:
    videos(root / "videos")
    job = make_job("shards", root=root / "videos", output=root / "shards", videos_per_shard=1)
    Work(num_workers=1).run(job)
    return lambda split: ClipShards(str(root / "shards"), split=split, flow=None)


def mixed(root: Path) -> Callable[..., Source]:
    made = videos(root)
    return lambda split: ConcatSource(
        {"a": made(split=split)}, {"a": 1.0} if split == "train" else None
    )


def spoil(root: Path, key: str) -> None:
    """Damage what the key names."""
    name = key.split(" ")[0].removeprefix("a/")
    if (root / "shards").is_dir():
        number = sorted(path.name for path in (root / "videos").iterdir()).index(name)
        (root / "shards" / f"shard-{number:06d}.tar").write_bytes(b"")
        return
    path = root / name
    for file in path.iterdir() if path.is_dir() else [path]:
        file.write_bytes(b"damaged")


@pytest.mark.parametrize("kind", [images, videos, listed, folders, pairs, shards, mixed])
def test_another_one_is_held_out_for_a_damaged_one(
    tmp_path: Path, kind: Callable[[Path], Callable[..., Source]], caplog: pytest.LogCaptureFixture
) -> None:
    make = kind(tmp_path)
    length = 1 if kind is images else 2
    whole = data_of(make, length=length)
    whole.setup("fit")
    train, val = keys(whole)
    assert val
    assert not {*val} & train
    for key in val:
        spoil(tmp_path, key)

    data = data_of(make, length=length, max_bad_fraction=0.5)
    data.setup("fit")
    new_train, new_val = keys(data)
    assert new_val
    assert len({*new_val}) == len(new_val)
    assert {*new_val} < train
    assert new_train == train - {*new_val}
    if kind is pairs:  # those of one folder stay together
        assert len(new_val) == 2
        assert len({key.partition("/")[0] for key in new_val}) == 1
    assert any("held out instead" in message for message in caplog.messages)
    assert data.skipped_files == len(val)

    again = data_of(make, length=length, max_bad_fraction=0.5)
    again.setup("fit")
    assert keys(again) == (new_train, new_val)


@pytest.mark.parametrize("side", [0, 1])
def test_of_two_videos_the_good_one_is_on_both_sides(
    tmp_path: Path, side: int, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, num_frames=4)
    (train,), (val,) = (
        [VideoFolder(tmp_path, split=split).info(0).key] for split in ("train", "val")
    )
    bad, good = (train, val) if side == 0 else (val, train)
    (tmp_path / bad).write_bytes(b"damaged")
    data = data_of(lambda split: VideoFolder(tmp_path, split=split))
    data.setup("fit")

    assert keys(data) == ({good}, [good])
    assert any("used for training and validation" in message for message in caplog.messages)
    assert [fault.file for fault in data.bad_videos] == [bad]


def test_videos_too_short_for_a_clip_are_not_held_out(tmp_path: Path) -> None:
    made = videos(tmp_path)
    val = made(split="val")
    for index in range(len(val)):
        write_video(tmp_path / val.info(index).key, num_frames=2)
    data = data_of(made, length=4)
    data.setup("fit")

    train, held_out = keys(data)
    assert len(held_out) == 1
    assert train | {*held_out} == {f"{i}.mp4" for i in range(5)} - {val.info(0).key}


def test_validation_videos_that_were_given_are_not_replaced(tmp_path: Path) -> None:
    videos(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_bytes(b"damaged")
    data = data_of(
        lambda split: VideoFolder(tmp_path / "good", split=split, val_root=tmp_path / "bad")
    )
    with pytest.raises(UserError, match=r"^The only validation video cannot be used: a\.mp4 "):
        data.setup("fit")


def test_a_single_damaged_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"damaged")
    data = data_of(lambda split: VideoFolder(tmp_path, split=split))
    with pytest.raises(UserError, match=r"video cannot be used: a\.mp4 cannot be opened"):
        data.setup("fit")

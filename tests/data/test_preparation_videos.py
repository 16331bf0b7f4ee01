"""The jobs on small videos, and that what they write can be trained on."""

from __future__ import annotations

import json
import pickle
import tarfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jobs import prepare
from torch import Tensor
from video_files import frame_numbers, truncate, write_video

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.data.sources.index import VideoIndex
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.data.view import View
from selfsup_motion.errors import ClipReadError, UserError


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five good videos, one too short, one truncated."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("a/one.mp4", "a/two.mp4", "b/one.mp4", "b/three.mkv"):
        write_video(root / name, num_frames=12, options={"g": "6"})
    write_video(root / "a/one.mov", num_frames=9)
    write_video(root / "short.mp4", num_frames=1)
    truncate(write_video(root / "cut.mp4"), 0.5)
    return root


def test_index_tells_what_opening_the_videos_tells(videos: Path, tmp_path: Path) -> None:
    outcome = prepare("index", root=videos, output=tmp_path, decode=True)
    assert outcome.bad == {"no video": 1, "too short": 1}
    opened = VideoFolder(videos, short_side=32)
    indexed = VideoFolder(videos, short_side=32, index=tmp_path)

    known = {info.key: info for info in map(indexed.info, range(len(indexed)))}
    assert len(known) == 5
    for place in range(len(opened)):
        try:
            info = opened.info(place)
        except ClipReadError:
            continue
        assert info.num_frames == 1 or known[info.key] == info
    assert frame_numbers(indexed.read(0, [3, 7]).frames, 12) == [3, 7]
    split = {
        side: {f.info(i).key for i in range(len(f))}
        for side in ("train", "val")
        for f in [VideoFolder(videos, split=side, index=tmp_path)]  # type: ignore[arg-type]
    }
    assert split["train"] | split["val"] == known.keys()
    assert not split["train"] & split["val"]


def test_index_of_a_video_that_has_changed_is_told(tmp_path: Path) -> None:
    write_video(tmp_path / "in" / "a.mp4", num_frames=9)
    prepare("index", root=tmp_path / "in", output=tmp_path / "out")
    write_video(tmp_path / "in" / "a.mp4", num_frames=7)
    with pytest.raises(ClipReadError, match="has 7 frames, not as many as in the index"):
        VideoFolder(tmp_path / "in", index=tmp_path / "out").read(0, [0])


def test_index_of_ten_thousand_videos_opens_at_once_and_is_small(tmp_path: Path) -> None:
    infos = [
        VideoInfo(f"class {i % 400}/video {i}.mp4", 300, 29.97, 256, 340) for i in range(10000)
    ]
    VideoIndex.of(infos).save(tmp_path / "index.npz")

    start = time.process_time()
    source = VideoFolder(tmp_path, index=tmp_path)
    assert source.info(9999) == infos[9999]
    assert time.process_time() - start < 1
    assert len(pickle.dumps(source)) < 10000 * 100
    assert list(VideoIndex.load(tmp_path)) == infos


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4", b"text"])
def test_missing_and_damaged_indices_are_one_sentence(tmp_path: Path, content: Any) -> None:
    if content is not None:
        (tmp_path / "index.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"^data\.index=.*selfsup_motion\.prepare"):
        VideoFolder(tmp_path, index=tmp_path / "index.npz")


def test_a_flipped_bit_in_an_index_is_one_sentence_or_changes_nothing(tmp_path) -> None:
    path = tmp_path / "x.npz"
    names = PathList(["a/one.mp4", "b.mp4"])
    numbers = np.array([3, 4])
    VideoIndex(names, numbers, np.array([25.0, 30.0]), np.array([[8, 9], [9, 8]]), {}).save(path)
    data, refused = path.read_bytes(), 0
    for bit in range(0, 8 * len(data), 13):
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        try:
            index = VideoIndex.parse(bytes(copy), "x")
        except UserError:
            refused += 1
        else:
            assert list(index.keys) == list(names)
            assert index.num_frames.tolist() == numbers.tolist()
    assert refused > len(data) / 4


def test_paths_that_are_no_text_survive_the_index(tmp_path: Path) -> None:
    name = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    index = VideoIndex.of([VideoInfo(name, 3, None, 4, 5)])
    index.save(tmp_path / "index.npz")
    assert VideoIndex.load(tmp_path)[0] == VideoInfo(name, 3, None, 4, 5)
    assert list(index.keys) == list(PathList([name]))


def test_frames_are_those_of_the_videos(videos: Path, tmp_path: Path) -> None:
    outcome = prepare("frames", root=videos, output=tmp_path, short_side=32)
    assert outcome.good == 6
    # two videos that differ in their extension alone
    folders = {f"{p.parent.relative_to(tmp_path)}" for p in tmp_path.rglob("*.jpg")}
    assert folders == {"a/one.mp4", "a/one.mov", "a/two", "b/one", "b/three", "short"}
    assert "b/three,12\n" in (tmp_path / "frames.csv").read_text()

    source = FrameFolder(tmp_path, layout="folders", lists=["frames.csv"])
    keys = [source.info(i).key for i in range(len(source))]
    assert sorted(keys) == sorted(folders)
    clip = source.read(keys.index("b/three"), [0, 5, 11])
    assert clip.frames.shape == (3, 3, 32, 48)
    assert frame_numbers(clip.frames, 12) == [0, 5, 11]


def test_frames_are_taken_at_the_rate_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "in" / "a.mp4")  # 25 per second
    prepare("frames", root=tmp_path / "in", output=tmp_path / "out", short_side=None, fps=10)
    images = [cv2.imread(str(p)) for p in sorted((tmp_path / "out" / "a").iterdir())]
    taken = frame_numbers(np.stack(images).transpose(0, 3, 1, 2))
    # 2.5 frames apart; the nearest, of two the earlier
    assert taken == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]


@pytest.fixture(scope="module")
def shards(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("shards")
    outcome = prepare(
        "shards",
        root=videos,
        output=output,
        short_side=48,
        picture="png",
        flow="dis",
        videos_per_shard=3,
    )
    assert (outcome.good, outcome.bad) == (6, {"no video": 1})
    return output


@pytest.mark.parametrize("job", ["frames", "shards", "flow"])
def test_results_that_are_cut_off_or_gone_are_made_again(tmp_path: Path, job: str) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / "in" / name, num_frames=3)
    options: dict[str, Any] = {"root": tmp_path / "in", "output": tmp_path / "out"}
    if job == "shards":
        options |= {"videos_per_shard": 1, "flow": None}
    prepare(job, **options)

    def made() -> dict[Path, bytes]:
        files = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files if ".prepare" not in path.parts}

    whole = made()
    victim = max(path for path in whole if path.suffix in (".jpg", ".tar", ".flowz"))
    for spoil in (lambda path: path.write_bytes(whole[path][:-1]), Path.unlink):
        spoil(victim)
        outcome = prepare(job, **options)
        assert (outcome.done, outcome.kept, outcome.spoilt) == (1, 1, 1)
        assert made() == whole
    assert prepare(job, **options).kept == 2


def test_a_video_beside_a_folder_of_its_name_keeps_apart_from_it(tmp_path: Path) -> None:
    for name in ("a.mp4", "a/b.mp4", "a/b/c.mp4"):
        write_video(tmp_path / "in" / name, num_frames=3)
    prepare("frames", root=tmp_path / "in", output=tmp_path / "out")
    source = FrameFolder(tmp_path / "out", layout="folders", lists=["frames.csv"])
    found = {source.info(i).key: source.info(i).num_frames for i in range(len(source))}
    assert found == {"a.mp4": 3, "a/b.mp4": 3, "a/b/c": 3}


def test_flow_of_folders_in_one_another_is_refused(tmp_path: Path) -> None:
    for place in ("x", "x/y"):
        for t in range(2):
            (tmp_path / "in" / place).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "in" / place / f"{t}.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"has frames in x and in x/y: move those of x to"):
        prepare("flow", root=tmp_path / "in", output=tmp_path / "out", input="frames")


def test_shards_hold_the_same_samples_as_the_videos(videos: Path, shards: Path) -> None:
    files = VideoFolder(videos, short_side=48, flow="dis", flow_preset="medium")
    packed = ClipShards(str(shards), flow="dis", flow_preset="medium")
    stored = ClipShards(str(shards), flow="stored")
    places = {p: i for i, p in enumerate(files._paths)}

    for place in range(len(packed)):
        info = packed.info(place)
        assert info == files.info(places[info.key])
        numbers = [info.num_frames - 2, info.num_frames - 1] if info.num_frames > 1 else [0]
        ours, theirs = packed.read(place, numbers), files.read(places[info.key], numbers)
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.times, theirs.times)  # type: ignore[arg-type]
        np.testing.assert_array_equal(ours.flow, theirs.flow)  # type: ignore[arg-type]
        np.testing.assert_array_equal(ours.valid, theirs.valid)  # type: ignore[arg-type]
        read = stored.read(place, numbers)
        np.testing.assert_array_equal(read.valid, theirs.valid)  # type: ignore[arg-type]
        assert read.flow is not None
        assert theirs.flow is not None
        assert theirs.valid is not None
        valid = theirs.valid[:, None]
        np.testing.assert_allclose(read.flow * valid, theirs.flow * valid, atol=1 / 64)


def test_shards_are_plain_tars(shards: Path) -> None:
    with tarfile.open(shards / "shard-000000.tar") as tar:
        names = tar.getnames()
        text = tar.extractfile("a/one.mp4/video.json")
        assert text is not None
        table = json.load(text)
        picture = tar.extractfile("a/one.mp4/000004.png")
        assert picture is not None
        image = cv2.imdecode(np.frombuffer(picture.read(), np.uint8), cv2.IMREAD_COLOR)
    assert "a/one.mp4/000000.flowz" in names
    assert table["key"] == "a/one.mp4"
    assert len(table["frames"]) == 12
    assert frame_numbers(image.transpose(2, 0, 1)[None], 12) == [4]


def test_shards_are_the_same_whenever_they_are_made(videos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare("shards", root=videos, output=tmp_path / name, short_side=32, videos_per_shard=3)
    for shard in ("shard-000000.tar", "shard-000002.tar"):
        assert (tmp_path / "one" / shard).read_bytes() == (tmp_path / "two" / shard).read_bytes()


class Everything(View):
    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        return {
            "frames": torch.from_numpy(np.ascontiguousarray(clip.frames)),
            "flow": torch.from_numpy(clip.flow),
            "noise": torch.tensor(rng.random()),
        }


def test_training_from_shards_sees_the_batches_of_training_from_files(tmp_path: Path) -> None:
    for number in range(5):
        write_video(tmp_path / "in" / f"{number}.mp4", num_frames=9 + number)
    outcome = prepare(
        "shards",
        root=tmp_path / "in",
        output=tmp_path / "out",
        short_side=32,
        picture="png",
        videos_per_shard=2,
    )
    assert outcome.good == 5

    def batches(source: Source) -> list[Any]:
        data = ClipDataModule(
            source=source,
            val_source=source,
            sampler=RandomClips(2, clips_per_video=2),
            val_sampler=UniformClips(2),
            view=Everything(),
            val_view=Everything(),
            batch_size=5,
        )
        return [batch for _ in range(2) for batch in data.train_dataloader()]

    from_files = batches(VideoFolder(tmp_path / "in", short_side=32, flow="dis"))
    from_shards = batches(ClipShards(str(tmp_path / "out"), flow="dis"))
    assert len(from_files) == len(from_shards) == 4
    for ours, theirs in zip(from_shards, from_files, strict=True):
        assert ours["key"] == theirs["key"]
        assert all(torch.equal(ours[name], theirs[name]) for name in ("frames", "flow", "noise"))


def test_shards_are_mixed_a_few_at_a_time_if_asked(shards: Path) -> None:
    mixed = ClipShards(str(shards), shuffle_shards=1).blocks
    assert mixed is not None
    assert mixed[0].tolist() == [0, 0, 0, 1, 1, 2]
    assert ClipShards(str(shards)).blocks is None


def test_shards_spare_the_frame_that_nobody_looks_at(shards: Path) -> None:
    whole = ClipShards(str(shards))
    reduced = whole.first_frame_only()
    ours, theirs = reduced.read(0, [3, 4]), whole.read(0, [3, 4])
    np.testing.assert_array_equal(ours.frames, theirs.frames[:1])
    np.testing.assert_array_equal(ours.flow, theirs.flow)  # type: ignore[arg-type]
    assert ClipShards(str(shards), flow="dis").first_frame_only().read(0, [3, 4]).flow is not None


def test_shards_of_frame_folders_are_those_of_the_folders(videos: Path, tmp_path: Path) -> None:
    frames, output = tmp_path / "frames", tmp_path / "shards"
    prepare("frames", root=videos / "b", output=frames, short_side=None)
    outcome = prepare(
        "shards", root=frames, output=output, picture="png", short_side=32, flow="dis"
    )
    assert outcome.good == 2
    folders = FrameFolder(frames, layout="folders", short_side=32, flow="dis", flow_preset="medium")
    packed = ClipShards(str(output))
    for place in range(2):
        assert packed.info(place) == folders.info(place)
        ours, theirs = packed.read(place, [4, 5]), folders.read(place, [4, 5])
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.valid, theirs.valid)  # type: ignore[arg-type]
        assert ours.times is None


def test_shards_of_pairs_hold_their_stored_flow(videos: Path, tmp_path: Path) -> None:
    prepare("frames", root=videos / "b", output=tmp_path / "frames", short_side=None)
    prepare("flow", root=tmp_path / "frames", output=tmp_path / "flow")
    outcome = prepare(
        "shards",
        root=tmp_path,
        output=tmp_path / "shards",
        input="pairs",
        lists=["flow/pairs.txt"],
        flow="stored",
        picture="png",
        short_side=None,
        videos_per_shard=5,
    )
    assert outcome.good == 22
    pairs = FrameFolder(tmp_path, layout="pairs", lists=["flow/pairs.txt"], flow="stored")
    packed = ClipShards(str(tmp_path / "shards"))
    assert len(packed) == len(pairs) == 22
    for place in (0, 7, 21):
        ours, theirs = packed.read(place, [0, 1]), pairs.read(place, [0, 1])
        assert ours.key == theirs.key
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.flow, theirs.flow)  # type: ignore[arg-type]
        np.testing.assert_array_equal(ours.valid, theirs.valid)  # type: ignore[arg-type]


def test_shards_of_images_hold_the_images(tmp_path: Path) -> None:
    (tmp_path / "in" / "cats").mkdir(parents=True)
    for name in ("a.png", "cats/a.png", "cats/a.jpg"):
        image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "in" / name), image)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no image")
    outcome = prepare(
        "shards",
        root=tmp_path / "in",
        output=tmp_path / "out",
        input="images",
        picture="png",
        short_side=None,
    )
    assert (outcome.good, outcome.bad) == (3, {"damaged": 1})
    assert outcome.lines[1].endswith("data.flow=null data.length=1")
    packed, images = ClipShards(str(tmp_path / "out"), flow=None), ImageFolder(tmp_path / "in")
    for place, original in enumerate((0, 2, 3)):
        ours, theirs = packed.read(place, [0]), images.read(original, [0])
        assert (ours.key, ours.flow) == (theirs.key, None)
        np.testing.assert_array_equal(ours.frames, theirs.frames)


def test_what_cannot_be_packed_is_one_sentence(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"^prepare\.flow=stored: only pairs have stored flow"):
        prepare("shards", root=videos, output=out, flow="stored")
    with pytest.raises(UserError, match=r"^prepare\.fps chooses frames of videos"):
        prepare("shards", root=videos, output=out, input="images", fps=5.0)
    with pytest.raises(UserError, match=r"^prepare\.lists goes with frames or pairs"):
        prepare("shards", root=videos, output=out, lists=["x.csv"])
    with pytest.raises(UserError, match=r"set prepare\.root to the folder that the list's"):
        prepare("shards", root=videos, output=out, input="pairs")
    with pytest.raises(UserError, match=r"prepare\.input=all is unknown: choose auto"):
        prepare("shards", root=videos, output=out, input="all")


@pytest.mark.parametrize("cached", [False, True])
def test_shards_at_a_url_are_those_of_the_folder(
    shards: Path, tmp_path: Path, cached: bool
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in shards.glob("[!.]*"):
        memory.pipe_file(f"/bucket/{file.name}", file.read_bytes())
    here, there = ClipShards(str(shards)), ClipShards("memory://bucket")
    if cached:
        options = {"filecache": {"cache_storage": str(tmp_path)}}
        there = ClipShards("filecache::memory://bucket", storage_options=options)
    there = pickle.loads(pickle.dumps(there))
    for place in range(len(here)):
        if here.info(place).num_frames > 1:
            ours, theirs = here.read(place, [0, 1]), there.read(place, [0, 1])
            np.testing.assert_array_equal(ours.frames, theirs.frames)
            np.testing.assert_array_equal(ours.flow, theirs.flow)  # type: ignore[arg-type]


def test_damaged_and_missing_shards_are_told(shards: Path, tmp_path: Path) -> None:
    for file in shards.glob("[!.]*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = bytearray((tmp_path / "shard-000000.tar").read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    (tmp_path / "shard-000000.tar").write_bytes(data[:-3000])
    (tmp_path / "shard-000001.tar").unlink()
    source = ClipShards(str(tmp_path))
    with pytest.raises(ClipReadError, match=r"a/one\.mov is damaged"):
        source.read(0, [0])
    with pytest.raises(ClipReadError, match=r"cannot be read from shard-000001\.tar"):
        source.read(4, [0])


def test_what_shards_cannot_give_is_one_sentence(
    videos: Path, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"neighbours|from each frame to the next"):
        ClipShards(str(shards)).read(0, [0, 2])
    prepare("shards", root=videos / "b", output=tmp_path, short_side=32)
    with pytest.raises(UserError, match=r"hold no flow: set data\.flow=dis"):
        ClipShards(str(tmp_path)).read(0, [0, 1])
    with pytest.raises(UserError, match=r"^data\.root=/nowhere: its index\.npz cannot be read"):
        ClipShards("/nowhere")
    with pytest.raises(UserError, match=r"^data\.root=nope://x: "):
        ClipShards("nope://x")

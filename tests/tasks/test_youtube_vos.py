"""YouTube-VOS: objects that appear later, files, the zip, and the whole task."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from selfsup_motion.data.reading.masks import read_ids, write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import ColorPatches
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.tracking import follow_masks
from selfsup_motion.tasks.propagation.vos_metrics import summarised
from selfsup_motion.tasks.propagation.youtube_vos import given_masks
from selfsup_motion.tasks.propagation.youtube_vos_files import YoutubeVosFolder

COUNT, LATE = 16, 10


def scene() -> tuple[np.ndarray, np.ndarray]:
    """(T, 48, 64, 3) frames and ids: object 2 all the time, object 5 from frame 10 on."""
    frames = np.full((COUNT, 48, 64, 3), 90, np.uint8)
    ids = np.zeros((COUNT, 48, 64), np.uint8)
    for time in range(COUNT):
        left = 4 + 2 * time
        frames[time, 4:20, left : left + 16], ids[time, 4:20, left : left + 16] = (250, 40, 40), 2
        if time >= LATE:
            low = 26 + (time - LATE)
            frames[time, low : low + 14, 6:24], ids[time, low : low + 14, 6:24] = (40, 40, 250), 5
    return frames, ids


@pytest.mark.parametrize("hard", [False, True])
def test_object_is_not_there_before_it_is_given_and_is_followed_after(hard):
    frames, ids = scene()
    given = {0: ids[0], LATE: np.where(ids[LATE] == 5, ids[LATE], 0).astype(np.uint8)}
    encoder = FrameEncoder(ColorPatches(samples=3))
    propagator = LabelPropagator(hard=hard, similarity="euclidean", temperature=1e-3)
    found = list(follow_masks(encoder, propagator, frames.transpose(0, 3, 1, 2), given))
    for time, (mask, truth) in enumerate(zip(found, ids, strict=True)):
        assert set(np.unique(mask)) == ({0, 2} if time < LATE else {0, 2, 5})
        assert (mask == truth).mean() > 0.95
    np.testing.assert_array_equal(found[LATE] == 5, ids[LATE] == 5)


def write_vos(root: Path, split: str = "valid", every: int = 5, names=("a1", "b2")) -> Path:
    """Videos whose first two frames show no object; `every`: of a sampled frame."""
    frames, ids = scene()
    frames = np.concatenate([np.full_like(frames[:5], 90), frames])
    ids = np.concatenate([np.zeros_like(ids[:5]), ids])
    meta: dict[str, Any] = {}
    for name in names:
        for part in (
            f"{split}/JPEGImages",
            f"{split}_all_frames/JPEGImages",
            f"{split}/Annotations",
        ):
            (root / part / name).mkdir(parents=True)
        listed: dict[str, Any] = {}
        for number, start, category in ((2, 5, "cat"), (5, 5 + LATE, "ape")):
            times = range(start, len(frames), every)
            listed[str(number)] = {"category": category, "frames": [f"{t:05d}" for t in times]}
        meta[name] = {"objects": listed}
        for time, frame in enumerate(frames):
            stem = f"{name}/{time:05d}"
            for part in (f"{split}_all_frames", *([split] if time % every == 0 else [])):
                cv2.imwrite(str(root / part / f"JPEGImages/{stem}.jpg"), frame[..., ::-1])
            # files may repeat objects that began earlier
            if time in (5, 5 + LATE) or (split == "train" and time % every == 0):
                write_mask(root / split / f"Annotations/{stem}.png", ids[time])
    (root / split / "meta.json").write_text(json.dumps({"videos": meta}))
    return root


def folder(root: Path, split: str = "valid", frames: Any = "auto") -> YoutubeVosFolder:
    return YoutubeVosFolder(str(root), split=split, frames=frames, held_out=None)


def test_official_layout_is_read(tmp_path):
    source = folder(write_vos(tmp_path))
    assert source.names == ["a1", "b2"]
    assert "all frames (30 a second)" in source.about
    video = source.open("a1")
    assert video.frame_names[0] == "00005", "before it there is nothing to predict"
    assert len(list(video.frames())) == COUNT
    assert {n: (o.start, list(o.asked), o.category) for n, o in video.objects.items()} == {
        2: (0, [0, 5, 10, 15], "cat"), 5: (LATE, [10, 15], "ape"),
    }  # fmt: skip
    given = given_masks(video)
    assert list(given) == [0, LATE]
    assert np.unique(given[LATE]).tolist() == [0, 5], "only those that begin there"
    sampled = folder(tmp_path, frames="sampled").open("a1")
    assert sampled.frame_names == ["00005", "00010", "00015", "00020"]
    assert sampled.objects[5].start == 2


def test_held_out_videos_are_the_same_every_time(tmp_path):
    write_vos(tmp_path, "train", names=("a", "b", "c", "d", "e", "f"))
    parts = [
        YoutubeVosFolder(str(tmp_path), split="train", frames="auto", held_out=share).names
        for share in (0.5, 0.5, 0.9, None)
    ]
    assert parts[0] == parts[1]
    assert 0 < len(parts[0]) < 6 == len(parts[3])
    assert set(parts[0]) <= set(parts[2])
    with pytest.raises(UserError, match=r"none of the 6 videos of .* is held out"):
        YoutubeVosFolder(str(tmp_path), split="train", frames="auto", held_out=1e-9)


def changed_meta(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = root / "valid/meta.json"
    meta = json.loads(file.read_text())
    change(meta["videos"]["a1"]["objects"])
    file.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda o: o.update({"300": o["2"]}), "video a1: object 300 has an id that a mask cannot"),
        (lambda o: o.update(x=o["2"]), "object x has an id that a mask cannot have"),
        (lambda o: o["2"]["frames"].append("99999"), "its frame 99999 is not in .*a1"),
        (lambda o: o["2"].update(frames=[]), "video a1 is not described as"),
        (lambda o: o.clear(), "video a1 is not described as"),
        (lambda o: (o.pop("2"), o.pop("5"), o.update({"9": {"frames": ["00005"]}})), "none of the"),
    ],
)
def test_wrong_descriptions_are_one_sentence(tmp_path, change, expected):
    changed_meta(write_vos(tmp_path, names=("a1",)), change)
    with pytest.raises(UserError, match=expected) as caught:
        _ = folder(tmp_path).open("a1").objects
    assert "\n" not in str(caught.value)


def test_object_that_its_first_mask_does_not_show_is_left_out(tmp_path, caplog):
    root = write_vos(tmp_path, names=("a1",))
    changed_meta(root, lambda o: o.update({"7": {"category": "dog", "frames": ["00005"]}}))
    assert list(folder(root).open("a1").objects) == [2, 5]
    assert "a1: object 7 is left out" in caplog.text


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"expected YouTube-VOS's folder with valid/Annotations"):
        folder(tmp_path)
    (write_vos(tmp_path) / "valid/meta.json").write_text('{"a1": 3}')
    with pytest.raises(UserError, match=r'meta\.json: expected {"videos"'):
        folder(tmp_path)
    write_vos(tmp_path / "x")
    (tmp_path / "x/valid_all_frames").rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"data\.frames=all: there is no folder"):
        folder(tmp_path / "x", frames="all")


def test_categories_are_averaged_as_the_benchmark_does():
    scores = [
        ("cat", {"J": 0.5, "F": 0.7}),
        ("cat", {"J": 0.7, "F": 0.9}),
        ("ape", {"J": 0.2, "F": 0}),
    ]
    found = summarised(scores, ["ape"])
    assert found["overall"] == pytest.approx((0.6 + 0.8 + 0.2 + 0.0) / 4)
    assert found["J_mean"] == pytest.approx(1.4 / 3)
    assert "overall" not in summarised(scores, [])
    with pytest.raises(
        UserError, match=r"task\.unseen: no scored object is a cut, did you mean cat"
    ):
        summarised(scores, ["cut"])


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    return partial(command, "evaluate")


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def test_zip_has_the_names_ids_and_sizes_of_the_benchmark(evaluate, tmp_path, capsys):
    write_vos(tmp_path / "vos")
    run = ("task=youtube_vos", "data.root=vos", "encoder=color_patches")
    assert evaluate(*run, "paths.output_dir=run", "overlay=true") == 0
    told = capsys.readouterr().out
    assert "Nothing could be scored; the results are written." in told
    assert summary("run")["baselines"] == {}
    assert "all frames" in summary("run")["frames"]
    with zipfile.ZipFile("run/submission.zip") as content:
        names = content.namelist()
        assert names == [
            f"Annotations/{v}/{t:05d}.png" for v in ("a1", "b2") for t in (5, 10, 15, 20)
        ]
        for name in names:
            image = Image.open(io.BytesIO(content.read(name)))
            assert image.mode == "P"
            assert image.size == (64, 48)
            later = name[-9:-4] >= "00015"
            assert np.unique(np.array(image)).tolist() == ([0, 2, 5] if later else [0, 2])
    assert Path("run/overlays/a1.mp4").stat().st_size > 500

    damaged, whole = Path("run/results/a1/00015.png"), Path("run/submission.zip").read_bytes()
    damaged.write_bytes(b"")
    assert evaluate(*run, "resume=run") == 0
    assert "a1 is damaged or incomplete: computed again." in capsys.readouterr().out
    assert Path("run/submission.zip").read_bytes() == whole
    assert evaluate(*run, "task.unseen=[cat]", "paths.output_dir=x") == 2
    assert "these videos have no public masks" in capsys.readouterr().err


def test_training_videos_and_toy_ones_are_scored(evaluate, tmp_path):
    write_vos(tmp_path / "vos", "train", names=("a1",))
    run = ("task=youtube_vos", "encoder=color_patches", "task.baselines=[identity]")
    train = ("data.root=vos", "data.split=train", "data.held_out=null", "task.unseen=[ape]")
    assert evaluate(*run, *train, "paths.output_dir=run") == 0
    found = summary("run")
    assert found["metrics"]["overall"] > 0.75
    assert found["baselines"]["identity"]["overall"] < 0.4
    table = Path("run/per_object.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["object", "a1_2", "a1_5"]
    toy = ("data=toy", "data.size=64", "data.sequences.length=6",
           "data.difficulty.num_sprites=[2,3]", "data.sequences.source.num_videos=2")  # fmt: skip
    assert evaluate(*run, *toy, "paths.output_dir=toy") == 0
    assert 0 < summary("toy")["metrics"]["J&F"] < 1
    shown = [
        np.unique(read_ids(p)).tolist() for p in sorted(Path("toy/results/toy-000000").iterdir())
    ]
    assert all(not id_ % 3 for ids in shown for id_ in ids)
    last = max(map(max, shown))
    assert [last in ids for ids in shown[:4]] == [False, False, False, True], "given half-way"

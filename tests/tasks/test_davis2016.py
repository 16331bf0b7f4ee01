"""DAVIS-2016: several objects as one, in the layouts of both archives."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from davis_like import write_davis

from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.davis2016_files import Davis2016Folder, OneObject


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    return partial(command, "evaluate")


def metrics(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())["metrics"]


def write_2016(root: Path) -> Path:
    """The archive of 2016: black and white masks, and a list of pairs."""
    write_davis(root)
    lines = []
    for name in ("cat", "dog"):
        for time in range(4):
            mask = root / f"Annotations/480p/{name}/{time:05d}.png"
            ids = cv2.imread(str(mask))
            cv2.imwrite(str(mask), np.where(ids.any(-1), 255, 0).astype(np.uint8))
            path = f"480p/{name}/{time:05d}"
            if name == "dog":
                lines.append(f"/JPEGImages/{path}.jpg /Annotations/{path}.png")
    (root / "ImageSets/480p").mkdir(parents=True)
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    return root


def test_lists_of_both_archives_name_the_sequences(tmp_path):
    root = write_2016(tmp_path)
    assert Davis2016Folder(str(root), split="val", resolution="480p").names == ["dog"]
    (root / "ImageSets/480p/val.txt").write_text("/JPEGImages/480p/cow/00000.jpg /x\n")
    with pytest.raises(UserError, match=r"480p/val\.txt: names none of the folders of"):
        Davis2016Folder(str(root), split="val", resolution="480p")
    (root / "ImageSets/2016").mkdir()
    (root / "ImageSets/2016/val.txt").write_text("cat\n")
    assert Davis2016Folder(str(root), split="val", resolution="480p").names == ["cat"]


def test_objects_are_one_in_both_archives(tmp_path):
    several = Davis2016Folder(str(write_davis(tmp_path / "later")), split="val", resolution="480p")
    one = Davis2016Folder(str(write_2016(tmp_path / "own")), split="val", resolution="480p")
    for time in range(4):
        merged = OneObject(several).open("dog").mask(time)
        assert np.unique(merged).tolist() == [0, 1]
        np.testing.assert_array_equal(merged, OneObject(one).open("dog").mask(time))


def test_real_sequences_are_read(shared):
    source = Davis2016Folder(str(shared / "data/davis"), split="val", resolution="480p")
    assert len(source.names) == 9
    video = OneObject(source).open("dog")
    assert np.unique(video.mask(0)).tolist() == [0, 1]
    assert next(video.frames()).shape[1:] == video.mask(0).shape


def test_both_archives_score_alike_and_results_have_the_form_of_2016(evaluate, tmp_path):
    write_2016(tmp_path / "own")
    write_davis(tmp_path / "later", ("dog",))
    run = ("task=davis2016", "encoder=lab_color", "task.baselines=[]")
    assert evaluate(*run, "data.root=own", "paths.output_dir=a") == 0
    assert evaluate(*run, "data.root=later", "paths.output_dir=b", "overlay=true") == 0
    assert metrics("a") == metrics("b")
    assert metrics("a")["J&F"] > 0.8
    image = cv2.imread("a/segmentations/dog/00003.png", cv2.IMREAD_UNCHANGED)
    assert image.shape == (40, 56)
    assert np.unique(image).tolist() == [0, 255]
    assert Path("b/overlays/dog.mp4").stat().st_size > 500
    toy = (
        "data=toy",
        "data.size=64",
        "data.sequences.length=4",
        "data.sequences.source.num_videos=2",
    )
    assert evaluate(*run, *toy, "paths.output_dir=toy") == 0
    objects = Path("toy/per_object.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0][-2:] for line in objects] == ["_1", "_1"]

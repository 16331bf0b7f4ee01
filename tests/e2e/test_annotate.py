"""`python -m selfsup_motion.annotate` as a user runs it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def annotate(command: Callable[..., int], folder: Path) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 70, 3), np.uint8)).save(folder / "photo.png")

    return partial(command, "annotate")


def test_without_arguments_the_photo_of_the_package_is_annotated(annotate, capsys):
    assert annotate("paths.output_dir=out") == 0
    assert "no image= and no positive= given" in capsys.readouterr().out
    mask = np.asarray(Image.open("out/mask.png"))
    assert mask[230, 322] == 1
    assert 0.005 < mask.mean() < 0.08


@pytest.mark.parametrize("refine", ["null", "grabcut", "guided"])
def test_points_make_an_indexed_mask_scores_and_an_overlay(annotate, cmp_checkpoint, refine):
    weights = (f"checkpoint={cmp_checkpoint}", "paths.output_dir=out", f"refine={refine}")
    assert annotate("image=photo.png", "positive=[[30,20]]", "negative=[[60,40]]", *weights) == 0
    written = {path.name for path in Path("out").iterdir()}
    assert written == {"config.yaml", "mask.png", "overlay.png", "score_1.png"}
    mask, score = (Image.open(f"out/{name}.png") for name in ("mask", "score_1"))
    assert mask.mode == "P"
    assert mask.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    assert mask.size == score.size == Image.open("out/overlay.png").size == (70, 48)
    inside, mask = np.asarray(score) > 127.5, np.asarray(mask)
    assert (inside | (mask == 0)).mean() > 0.99
    assert mask[20, 30] == 1
    assert mask[40, 60] == 0
    parts, _ = cv2.connectedComponents(mask)
    assert parts == 2  # the ground and the object


def test_several_objects_come_from_a_file(annotate, cmp_checkpoint):
    objects = [{"positive": [[10, 10]]}, {"positive": [[60, 40]], "negative": [[40, 5]]}]
    Path("points.json").write_text(json.dumps(objects))
    weights = (f"checkpoint={cmp_checkpoint}", "paths.output_dir=out", "zoom=null")
    assert annotate("image=photo.png", "objects=points.json", *weights) == 0
    assert Path("out/score_2.png").exists()
    assert set(np.unique(np.asarray(Image.open("out/mask.png")))) <= {0, 1, 2}


def test_parts_without_a_point_are_kept_on_request(annotate, cmp_checkpoint):
    settings = (f"checkpoint={cmp_checkpoint}", "zoom=null", "positive=[[30,20]]", "threshold=0.6")
    for name, keep in (("some", "false"), ("every", "true")):
        options = (f"all_parts={keep}", f"paths.output_dir={name}")
        assert annotate("image=photo.png", *settings, *options) == 0
    some, every = (np.asarray(Image.open(f"{name}/mask.png")) for name in ("some", "every"))
    score = np.asarray(Image.open("every/score_1.png"))
    assert ((score > 0.6 * 255 + 0.5) <= (every == 1)).all()
    assert ((some == 1) <= (every == 1)).all()
    assert cv2.connectedComponents(some)[0] == 2  # the ground and the object


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "positive: no point on the object"),
        (["positive=[[1]]"], "positive: entry 1 is [1], expected [x, y]"),
        (["positive=[[70,3]]"], "positive: point 1 is at x=70, y=3, outside"),
        (["positive=[[7,3]]", "negative=[[7,nan]]"], "negative: entry 1 is [7, NaN]"),
        (["positive=[[1,1]]", "negative=[[1.4,1]]"], "are on the same pixel, x=1, y=1: leave one"),
        (["objects=[]"], "objects: expected a list of objects, got []"),
        (["objects=[{positive:[[1,1]]},{positiv:[]}]"], "objects, object 2: expected {"),
        (["objects=[{positive:[[1,1]]},{negative:[[2,2]]}]"], "object 2, positive: no point"),
        (["objects=no.json"], "objects=no.json: No such file"),
        (["objects=[{positive:[[1,1]]}]", "positive=[[1,1]]"], "leave positive and negative out"),
        (["positive=[[1,1]]", "zoom=0.5"], "zoom=0.5: expected at least 1, or null"),
        (["positive=[[1,1]]", "threshold=1.0"], "threshold=1: expected a score from 0 to below 1"),
        (["positive=[[1,1]]", "refine=crf"], "refine=crf: expected one of grabcut, guided or null"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    annotate, cmp_checkpoint, folder, capsys, arguments, expected
):
    assert annotate("image=photo.png", f"checkpoint={cmp_checkpoint}", *arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert {path.name for path in folder.iterdir()} == {"photo.png"}

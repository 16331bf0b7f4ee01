"""Average precision equals pycocotools' own, from the files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selfsup_motion.ops.rle import encode_masks
from selfsup_motion.tasks.instances.coco_scores import SCORES, CocoScores, average_precision

SIZE = (120, 160)
CATEGORIES = {3: "car", 18: "dog", 90: "toothbrush"}


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def entry(x: float, y: float, radius: float, category: int, **more: Any) -> dict[str, Any]:
    return {
        "category_id": category,
        "bbox": [x - radius, y - radius, 2 * radius, 2 * radius],
        "segmentation": encode_masks(disc(x, y, radius)[None])[0],
        **more,
    }


def random_image(number: int, rng: np.random.Generator) -> tuple[dict, dict[str, list]]:
    """Objects, crowds among them, and detections: some near an object, others anywhere."""
    annotations, found = [], []
    for _ in range(rng.integers(0, 6)):
        x, y, radius = rng.uniform(10, 110), rng.uniform(10, 110), rng.uniform(4, 60)
        category, crowd = int(rng.choice(list(CATEGORIES))), int(rng.random() < 0.15)
        truth = entry(x, y, radius, category, iscrowd=crowd)
        truth["area"] = float(disc(x, y, radius).sum())
        annotations.append(truth)
        for _ in range(rng.integers(0, 4)):
            dx, dy, dr = rng.normal(0, radius / 12, 3)
            near = category if rng.random() < 0.8 else 3
            found.append(entry(x + dx, y + dy, radius + dr, near, score=float(rng.random())))
    for _ in range(rng.integers(0, 3)):
        where = rng.uniform(20, 100, 2)
        found.append(entry(*where, rng.uniform(5, 30), 18, score=float(rng.random() / 2)))
    image = {"id": number, "height": SIZE[0], "width": SIZE[1], "annotations": annotations}
    boxes = [{k: v for k, v in f.items() if k != "segmentation"} for f in found]
    masks = [{k: v for k, v in f.items() if k != "bbox"} for f in found]
    named = {
        kind: [{**f, "image_id": number} for f in part]
        for kind, part in (("bbox", boxes), ("segm", masks))
    }
    return image, named


def by_pycocotools(truth: Path, results: Path, kind: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6].tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_equal_those_that_pycocotools_computes_from_the_files(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(seed)
    scores = CocoScores(CATEGORIES)
    annotations, images = [], []
    for number in rng.permutation(40).tolist():
        image, found = random_image(number + 100, rng)
        scores.add(image, found)
        images.append({key: image[key] for key in ("id", "height", "width")})
        for made in image["annotations"]:
            annotations.append({**made, "image_id": image["id"], "id": len(annotations) + 1})
    computed = scores.compute()
    scores.write(tmp_path / "results")
    assert capsys.readouterr().out == ""
    # a file of its own, in another order than ours
    categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "truth.json").write_text(json.dumps(whole))
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        results = tmp_path / "results" / f"{kind}.json"
        wanted = by_pycocotools(tmp_path / "truth.json", results, kind)
        assert [computed[f"{name}_{score}"] for score in SCORES] == pytest.approx(wanted, abs=1e-12)
        assert 0.05 < wanted[0] < 0.9
    assert computed["box_ap"] != computed["mask_ap"]


def perfect(image: dict[str, Any]) -> dict[str, list]:
    """The true objects, found."""
    common = [{"image_id": image["id"], "score": 0.9} for _ in image["annotations"]]
    return {
        kind: [
            {**c, "category_id": a["category_id"], key: a[key]}
            for c, a in zip(common, image["annotations"], strict=True)
        ]
        for kind, key in (("bbox", "bbox"), ("segm", "segmentation"))
    }


def image_of(number: int, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "height": SIZE[0], "width": SIZE[1], "annotations": list(annotations)}


def truth(x: float, y: float, radius: float, category: int, *, crowd: bool = False) -> dict:
    area = float(disc(x, y, radius).sum())
    return entry(x, y, radius, category, iscrowd=int(crowd), area=area)


def test_perfect_detections_score_one_and_none_score_zero() -> None:
    image = image_of(0, truth(50, 50, 20, 3), truth(90, 60, 25, 18))
    scores = CocoScores(CATEGORIES)
    scores.add(image, perfect(image))
    # both are of medium size: of small and large ones there is nothing to say
    known = ("ap", "ap50", "ap75", "ap_medium")
    wanted = {f"{kind}_{score}" for kind in ("box", "mask") for score in known}
    assert scores.compute() == pytest.approx(dict.fromkeys(wanted, 1.0))
    scores.reset()
    scores.add(image, {"bbox": [], "segm": []})
    assert scores.compute() == dict.fromkeys(wanted, 0.0)


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong() -> None:
    image = image_of(1, truth(40, 40, 20, 3), truth(110, 60, 45, 3, crowd=True))
    found = perfect(image_of(1, image["annotations"][0]))
    inside = entry(110, 60, 20, 3, score=0.99, image_id=1)
    for kind, other in (("bbox", "segmentation"), ("segm", "bbox")):
        found[kind].append({k: v for k, v in inside.items() if k != other})
    scores = CocoScores(CATEGORIES)
    scores.add(image, found)
    assert scores.compute()["mask_ap"] == scores.compute()["box_ap"] == pytest.approx(1)
    scores.reset()
    lonely = image_of(1, image["annotations"][0])  # without the crowd it is a mistake
    scores.add(lonely, found)
    assert scores.compute()["mask_ap"] == pytest.approx(0.5)


def test_mistakes_in_images_without_objects_count() -> None:
    image = image_of(1, truth(40, 40, 20, 3))
    scores = CocoScores(CATEGORIES)
    scores.add(image, perfect(image))
    wrong = entry(40, 40, 20, 3, score=0.95, image_id=2)
    scores.add(
        image_of(2),
        {
            "bbox": [{k: v for k, v in wrong.items() if k != "segmentation"}],
            "segm": [{k: v for k, v in wrong.items() if k != "bbox"}],
        },
    )
    assert scores.compute()["box_ap"] == pytest.approx(0.5)


def test_without_any_object_there_is_no_score() -> None:
    scores = CocoScores(CATEGORIES)
    scores.add(image_of(1), {"bbox": [], "segm": []})
    assert scores.compute() == {}
    assert average_precision(scores.truth(), [], "segm") == {}

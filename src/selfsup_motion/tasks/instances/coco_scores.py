"""COCO's average precision of boxes and masks, by pycocotools, without its prints."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Kind = Literal["bbox", "segm"]
KINDS: dict[Kind, str] = {"bbox": "box", "segm": "mask"}
"""pycocotools' names and ours."""

SCORES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
"""Mean over categories and over the overlaps 0.5, 0.55, …, 0.95; at overlap 0.5; at 0.75; of
objects of less than 32², less than 96² and more pixels."""

Entry = dict[str, Any]
"""As in one of COCO's json files."""


class CocoScores:
    """Collects truth and detections of images, on all ranks, and scores them together."""

    def __init__(self, categories: Mapping[int, str]) -> None:
        """Begin with nothing.

        Args:
            categories: names by id.
        """
        self.categories = dict(categories)
        self._images: list[tuple[Entry, dict[Kind, list[Entry]]]] = []

    def add(self, truth: Entry, detections: Mapping[Kind, Sequence[Entry]]) -> None:
        """Take note of an image.

        Args:
            truth: `id`, `height`, `width`, `annotations` (see `InstanceView`).
            detections: of the image, as `results/*.json` will have them.
        """
        self._images.append((truth, {kind: list(detections[kind]) for kind in KINDS}))

    def gather(self) -> None:
        """Bring the images of all ranks to rank 0; the others are empty then."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        parts: list[Any] | None = None
        if torch.distributed.get_rank() == 0:
            parts = [None] * torch.distributed.get_world_size()
        torch.distributed.gather_object(self._images, parts)
        self._images = [image for part in parts or () for image in part]

    def reset(self) -> None:
        """Forget everything."""
        self._images = []

    def compute(self) -> dict[str, float]:
        """`box_ap`, `mask_ap`, … in [0, 1], over the images of this rank.

        A score of which there are no objects, say large ones, is left out.
        """
        truth = self.truth()
        scores = {}
        for kind, name in KINDS.items():
            for score, value in average_precision(truth, self.results(kind), kind).items():
                scores[f"{name}_{score}"] = value
        return scores

    def truth(self) -> Entry:
        """Images, annotations and categories as one of COCO's json files."""
        images, annotations = [], []
        for image, _ in self._sorted():
            images.append({key: image[key] for key in ("id", "height", "width")})
            annotations += [{**a, "image_id": image["id"]} for a in image["annotations"]]
        # ids from 1: to pycocotools, a detection that matches annotation 0 matches nothing
        annotations = [{**a, "id": number} for number, a in enumerate(annotations, start=1)]
        categories = [{"id": number, "name": name} for number, name in self.categories.items()]
        return {"images": images, "annotations": annotations, "categories": categories}

    def results(self, kind: Kind) -> list[Entry]:
        """All detections, as one of COCO's results files."""
        return [result for _, found in self._sorted() for result in found[kind]]

    def _sorted(self) -> list[tuple[Entry, dict[Kind, list[Entry]]]]:
        """By the ids of the images, however they came."""
        return sorted(self._images, key=lambda image: image[0]["id"])

    def write(self, folder: Path) -> None:
        """Write `bbox.json` and `segm.json`, COCO's results format."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            text = json.dumps(self.results(kind))
            (folder / f"{kind}.json").write_text(text, encoding="utf-8")


def average_precision(truth: Entry, results: Iterable[Entry], kind: Kind) -> dict[str, float]:
    """Score detections.

    Args:
        truth: content of a COCO annotation file.
        results: content of a COCO results file.
        kind: what overlaps: boxes or masks.

    Returns:
        `SCORES` in [0, 1], without those of which there are no objects.
    """
    with redirect_stdout(io.StringIO()):
        coco = _index(truth)
        # pycocotools writes into what it is given, and cannot load nothing
        detections = [dict(entry) for entry in results]
        found = coco.loadRes(detections) if detections else _index({**truth, "annotations": []})
        evaluation = COCOeval(coco, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = zip(SCORES, evaluation.stats.tolist(), strict=False)  # average recalls follow
    return {name: float(value) for name, value in values if value >= 0}


def _index(content: Entry) -> Any:
    coco = COCO()
    coco.dataset = copy.deepcopy(content)
    coco.createIndex()
    return coco

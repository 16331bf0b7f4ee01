"""The task arrow answers: does a CMP move the thing that an arrow lies on?"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.tasks.arrows.answers import AskedNetwork
from selfsup_motion.tasks.arrows.baselines import Baseline, baseline_region
from selfsup_motion.tasks.arrows.photos import MaskedPhotos, Photo
from selfsup_motion.tasks.arrows.pictures import ranked, sheet, sheet_row
from selfsup_motion.tasks.arrows.questions import ASKED, Asked, Mask, Question, iou, question_of
from selfsup_motion.tasks.arrows.records import (
    Records,
    Rows,
    columns,
    mean_and_error,
    write_tables,
)
from selfsup_motion.tasks.propagation.sequences import chosen
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.text.wording import counted
from selfsup_motion.weights.trained_cmp import Weights, weights_of

log = logging.getLogger(__name__)

_TITLES = {
    "": "CMP", "refined": "refined", "nearest": "nearest", "edge_aware": "edge-aware",
    "disc": "disc", "grabcut": "GrabCut",
}  # fmt: skip


class ArrowAnswers(Task):
    """Points on photos whose objects are known; the region of the answer is compared with the mask.

    Asked are an arrow with no pin, with 4 and with 15 pins, and one click and 3+3 clicks as
    `annotate` takes them (`questions`, `answers`). The score is intersection over union, the mean
    over all photos.

    Args:
        source: photos with masks.
        sequences: names of the sequences or photos to ask about; None: all.
        baselines: what is scored beside the network: "refined", its own answers cut by GrabCut;
            "nearest" and "edge_aware" interpolation of the arrows; "disc", a disc around the point;
            "grabcut", GrabCut with the same points.
        short_side: at which the network sees the photo, or the square that clicks zoom into, in
            pixels; None: as it was trained.
        zoom: of clicks, see `click_score`.
        threshold: score above which a pixel belongs to what was clicked on, in [0, 1).
        radius: of the disc, and of what GrabCut takes for the probable object, as a share of the
            photo's short side.

    Attributes:
        beside: metrics of the baselines, after `run`.
        standard_errors: of all metrics, by baseline; "" is the network.
    """

    needs: ClassVar[Needs] = {"labels": "photos", "encoder": "cmp"}
    unit: ClassVar[str] = "sequences"

    def __init__(
        self,
        *,
        source: MaskedPhotos,
        sequences: Sequence[str] | None,
        baselines: Sequence[Baseline],
        short_side: int | None,
        zoom: float | None,
        threshold: float,
        radius: float,
    ) -> None:
        if short_side is not None and short_side < 1:
            raise UserError(f"task.short_side={short_side}: expected at least 1 pixel.")
        if zoom is not None and not zoom >= 1:
            raise UserError(
                f"task.zoom={zoom:g}: expected at least 1, or null for the whole photo."
            )
        if not 0 <= threshold < 1:
            raise UserError(f"task.threshold={threshold:g}: expected a score from 0 to below 1.")
        if not radius > 0:
            raise UserError(f"task.radius={radius:g}: expected a share of the short side above 0.")
        self.source, self.names = source, chosen(source, sequences)
        self.baselines = tuple(dict.fromkeys(baselines))
        self.short_side, self.zoom, self.threshold = short_side, zoom, threshold
        self.radius = radius
        self.beside = {}
        self.standard_errors: dict[str, dict[str, float]] = {}

    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """Do all of it.

        Args:
            encoder: a whole CMP, of `load_method` or `load_network`.
            folder: gets `answers.jsonl`, `per_sequence.csv`, `per_question.csv`, the same tables in
                `baselines/<name>`, and `pictures/<asked>.png`.
            device: to compute on.
            reuse: take over the sequences that the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            IoU in [0, 1] of `arrow_0`, `arrow_4`, `arrow_15`, `click_1` and `click_33`; without
            them if there was no object to ask about.

        Raises:
            UserError: a file is missing or wrong.
        """
        assert isinstance(encoder, CMPNetwork)
        network = weights_of(encoder.to(device))
        if self.short_side is not None:
            network = network.at(self.short_side)
        records = Records(folder / "answers.jsonl", reuse=reuse)
        groups: dict[str, dict[str, Rows]] = {}
        for done, name in enumerate(self.names, start=1):
            known = records.get(name)
            if known is None:
                known = {
                    photo.name: self._score(network, photo) for photo in self.source.open(name)
                }
                records.add(name, known)
            groups[name] = known
            if progress:
                progress(done, len(self.names), name)
        empty = [name for name, items in groups.items() if not items]
        if empty:
            shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
            log.warning("Left out, no object to point at: %s.", shown)
        everyone = write_tables(folder, groups, "sequence question")
        items = [rows for group in groups.values() for rows in group.values()]
        log.info("Asked about %s.", counted(len(items), "object"))
        means: dict[str, dict[str, float]] = {}
        for who in everyone:
            told = {m: mean_and_error(v) for m, v in columns(items, who).items()}
            means[who] = {metric: mean for metric, (mean, _) in told.items()}
            self.standard_errors[who] = {metric: error for metric, (_, error) in told.items()}
        self.beside = {who: values for who, values in means.items() if who}
        if items:
            self._draw(network, groups, folder / "pictures")
        return means.get("", {})

    def summary(self) -> dict[str, Any]:
        """The standard errors."""
        errors = {
            who: {metric: e for metric, e in told.items() if math.isfinite(e)}
            for who, told in self.standard_errors.items()
        }
        return {"standard_errors": errors}

    def _score(self, network: Weights, photo: Photo) -> Rows:
        question, looking = _question(photo), AskedNetwork(network, photo.image)
        rows: Rows = {}
        for asked in ASKED:
            for who, region in self._regions(looking, photo, question, asked).items():
                rows.setdefault(who, {})[asked] = iou(region, photo.mask, photo.void)
        return rows

    def _regions(
        self, looking: AskedNetwork, photo: Photo, question: Question, asked: Asked
    ) -> dict[str, Mask]:
        """Answers by who gives them, the network's first."""
        answer = looking.answer(question, asked, zoom=self.zoom, threshold=self.threshold)
        found = {"": answer.region}
        for who in self.baselines:
            if who == "refined":
                region: Mask | None = looking.refined(answer, self.threshold)
            else:
                region = baseline_region(who, photo, question, asked, self.radius)
            if region is not None:
                found[who] = region
        return found

    def _draw(
        self, network: Weights, groups: Mapping[str, Mapping[str, Rows]], folder: Path
    ) -> None:
        """Ask again about the photos that are shown."""
        folder.mkdir(exist_ok=True)
        where = {item: name for name, items in groups.items() for item in items}
        for asked in ASKED:
            values = {i: r[""][asked] for items in groups.values() for i, r in items.items()}
            rows, titles = {}, []
            for rank, item in ranked(values).items():
                photo = next(p for p in self.source.open(where[item]) if p.name == item)
                question, looking = _question(photo), AskedNetwork(network, photo.image)
                regions = self._regions(looking, photo, question, asked)
                titles = [_TITLES[who] for who in regions]
                answers = list(regions.values())
                rows[rank] = sheet_row(photo, question, asked, answers, f"{rank}: {item}")
            save_picture(folder / f"{asked}.png", sheet(rows, titles))


def _question(photo: Photo) -> Question:
    return question_of(photo.name, photo.mask)

"""The task VIP: follow the parts of persons, and instances of them, from the first frame on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.data.reading.masks import palette, read_ids, write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_folder
from selfsup_motion.ops.confusion import class_iou
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import FittingPropagator, Propagation
from selfsup_motion.tasks.propagation.followers import Baseline, Follower, make_followers
from selfsup_motion.tasks.propagation.parsed_videos import ParsedVideo, ParsedVideos
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.resizing import seen_at
from selfsup_motion.tasks.propagation.sequences import chosen
from selfsup_motion.tasks.propagation.soft_following import Followed, follow_maps
from selfsup_motion.tasks.propagation.tables import write_table
from selfsup_motion.tasks.propagation.vip_metrics import (
    OVERLAPS,
    PartPrecision,
    confusion,
    parsing_scores,
)
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)

_PARTS, _INSTANCES = "global_parsing", "instance_parsing"


class Vip(Task):
    """Propagate label maps, score mean IoU, and average precision of instances.

    Args:
        source: videos with label maps.
        sequences: names of those to work on; None: all.
        propagator: copies the labels.
        baselines: what is scored beside the encoder, see `followers.baselines`.
        seed: of the weights of an untrained encoder.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
        size: (height, width) that frames are resized to before they are encoded, whatever their
            proportions; results have the frames' own size. None: as the propagator has it.

    Attributes:
        propagation: what `run` has followed with.
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "parsing", "encoder": "image"}
    draws: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: ParsedVideos,
        sequences: Sequence[str] | None,
        propagator: LabelPropagator | FittingPropagator,
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
        size: tuple[int, int] | None,
    ) -> None:
        if size is not None and min(size) < 8:
            raise ValueError(f"size must be at least 8, got {list(size)}")
        self.source, self.propagator, self.baselines = source, propagator, baselines
        self.names, self.size, self.seed = chosen(source, sequences), size, seed
        self.layer, self.precision = layer, precision
        self.propagation: Propagation | None = None
        self.beside: dict[str, dict[str, float]] = {}

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
            encoder: see `FrameEncoder`.
            folder: gets `results/<video>/global_parsing/<frame>.png`, indexed by class;
                `results/<video>/instance_parsing/<frame>.png` with `<frame>.txt`, a line `<class>
                <score>` for each instance, as the official scripts read them; `per_class.csv`; and
                the same in `baselines/<name>`.
            device: to compute on.
            reuse: take over the videos whose results the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            In [0, 1]: `miou` with the first frame, which was given, as published numbers have it,
            and `miou_without_first`; `pixel_accuracy` and `mean_accuracy` with it; if there are
            instances, `AP_r`, the mean over the thresholds, `AP_r@0.5`, and `AP_r_without_first`.

        Raises:
            UserError: a file is missing or wrong.
        """
        followers = make_followers(
            encoder, self.propagator, self.baselines,
            layer=self.layer, precision=self.precision, device=device, folder=folder,
            seed=self.seed,
        )  # fmt: skip
        followers = seen_at(followers, self.size)
        self.propagation = followers[0].propagation
        videos = [self.source.open(name) for name in self.names]
        total, done = len(followers) * sum(len(video.frame_names) for video in videos), 0
        scores = {follower.name: _Scores(len(self.source.class_names)) for follower in followers}
        for video in videos:
            for follower in followers:
                place = follower.folder / "results" / video.name
                if not (reuse and _is_whole(place, video)):
                    for time in self._track(follower, video, place):
                        if progress:
                            progress(done + time + 1, total, video.name)
                done += len(video.frame_names)
                scores[follower.name].add(video, place)
        for follower in followers:
            scores[follower.name].write(follower.folder, self.source.class_names)
        metrics = {name: score.summary() for name, score in scores.items()}
        self.beside = {name: values for name, values in metrics.items() if name}
        return metrics[""]

    def summary(self) -> dict[str, Any]:
        return {} if self.propagation is None else {"propagator": self.propagation.summary()}

    def tracked(self, folder: Path) -> list[str]:
        """Names of the videos whose results `folder` has."""
        return [name for name in self.names if (folder / "results" / name).is_dir()]

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames of a video with the parts that `run` has found, (H, W, 3) uint8."""
        video, colours = self.source.open(name), palette()
        for frame_name, frame in zip(video.frame_names, video.frames(), strict=True):
            parts = read_ids(folder / "results" / name / _PARTS / f"{frame_name}.png")
            yield draw_masks(np.ascontiguousarray(frame.transpose(1, 2, 0)), parts, colours)

    def _track(self, follower: Follower, video: ParsedVideo, place: Path) -> Iterator[int]:
        """Write the result of a video; yields the number of each frame that is done."""
        parts, instances = _first_parts(video), video.instances(0)
        given = [parts] if instances is None else [parts, instances.ids]
        drafts = follower.folder / ".drafts"
        shutil.rmtree(drafts, ignore_errors=True)  # of a run that was killed
        propagator = follower.propagation.propagator
        found = follow_maps(follower.encoder, propagator, video.frames(), given)
        try:
            with new_folder(place, drafts) as draft:
                for kind in (_PARTS, _INSTANCES)[: len(given)]:
                    (draft / kind).mkdir()
                for time, (name, maps) in enumerate(zip(video.frame_names, found, strict=True)):
                    write_mask(draft / _PARTS / f"{name}.png", maps[0].ids)
                    if instances is not None:
                        path = draft / _INSTANCES / f"{name}.png"
                        _write_instances(path, maps[1], instances.classes)
                    yield time
        finally:
            shutil.rmtree(drafts, ignore_errors=True)


class _Scores:
    """Of all videos, with and without their first frames."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._first, self._later = (np.zeros((classes, classes), np.int64) for _ in range(2))
        self._precision, self._later_precision = PartPrecision(classes), PartPrecision(classes)
        self._instances = False

    def add(self, video: ParsedVideo, place: Path) -> None:
        for time, name in enumerate(video.frame_names):
            matrix = self._later if time else self._first
            predicted = read_ids(place / _PARTS / f"{name}.png")
            matrix += confusion(video.parts(time), predicted, self._classes)
            if (truth := video.instances(time)) is None:
                continue
            self._instances = True
            found = _read_instances(place / _INSTANCES / f"{name}.png")
            self._precision.add(truth.ids, truth.classes, *found)
            if time:
                self._later_precision.add(truth.ids, truth.classes, *found)

    def summary(self) -> dict[str, float]:
        with_first = parsing_scores(self._first + self._later)
        found = {
            "miou": with_first.pop("miou"),
            "miou_without_first": parsing_scores(self._later)["miou"],
            **with_first,
        }
        if self._instances:
            table = self._precision.average()
            later = self._later_precision.average()
            found["AP_r"] = _mean(table)
            found["AP_r@0.5"] = _mean(table[:, OVERLAPS.index(0.5)])
            found["AP_r_without_first"] = _mean(later)
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def write(self, folder: Path, names: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        both = class_iou(torch.from_numpy(self._first + self._later)).tolist()
        later = class_iou(torch.from_numpy(self._later)).tolist()
        rows = {
            name: {"iou": a, "iou_without_first": b}
            for name, a, b in zip(names, both, later, strict=True)
        }
        if self._instances:
            precisions = self._precision.average()
            for name, row in zip(names[1:], precisions, strict=True):
                rows[name] |= {f"AP_r@{t}": float(v) for t, v in zip(OVERLAPS, row, strict=True)}
        write_table(folder / "per_class.csv", "class", rows)


def _mean(table: np.ndarray) -> float:
    return float(np.nanmean(table)) if not np.isnan(table).all() else float("nan")


def _first_parts(video: ParsedVideo) -> Ids:
    """The label map that is followed, what is unknown as background."""
    parts = video.parts(0)
    parts = np.where(parts == VOID, 0, parts).astype(np.uint8)
    if not parts.any():
        raise UserError(
            f"{video.name}: the label map of the first frame ({video.frame_names[0]}) has nothing "
            "but background, there is nothing to follow; name the others with task.sequences=[…]."
        )
    return parts


def _write_instances(path: Path, found: Followed, classes: Mapping[int, int]) -> None:
    """Instances as the official scripts read them: line n of the list is about value n."""
    shown = [int(i) for i in np.unique(found.ids) if i]
    numbers = np.zeros(256, np.uint8)
    numbers[shown] = np.arange(1, len(shown) + 1)
    write_mask(path, numbers[found.ids])
    lines = (f"{classes[i]} {found.confidence.get(i, 0.0):.6f}\n" for i in shown)
    path.with_suffix(".txt").write_text("".join(lines), "utf-8")


def _read_instances(path: Path) -> tuple[Ids, dict[int, tuple[int, float]]]:
    """What `_write_instances` wrote.

    Raises:
        UserError: a damaged file.
    """
    lines = path.with_suffix(".txt").read_text("utf-8").splitlines()
    try:
        rows = [(int(kind), float(score)) for kind, score in map(str.split, lines)]
    except ValueError as error:
        raise UserError(f"{path.with_suffix('.txt')}: expected a class and a score.") from error
    return read_ids(path), dict(enumerate(rows, start=1))


def _is_whole(place: Path, video: ParsedVideo) -> bool:
    """Whether an earlier run has left readable results of each frame."""
    if not place.is_dir():
        return False
    size = video.parts(0).shape
    try:
        for name in video.frame_names:
            whole = read_ids(place / _PARTS / f"{name}.png").shape == size
            if whole and video.instances(0) is not None:
                ids, rows = _read_instances(place / _INSTANCES / f"{name}.png")
                whole = ids.shape == size and int(ids.max()) == len(rows)
            if not whole:
                break
        else:
            return True
    except (UserError, OSError):
        pass
    log.warning("%s is damaged or incomplete: computed again.", place)
    return False

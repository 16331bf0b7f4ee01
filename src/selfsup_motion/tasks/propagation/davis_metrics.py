"""Scores of DAVIS-2017 (Pont-Tuset et al. 2017), equal to the official toolkit's.

Two differences. The toolkit numbers the frames of a clip with 8 bits, so that its decay is wrong
for clips of more than 256 frames; here it is right. It counts all ids up to the largest one, those
that are nowhere score 1; here only the ids of the first frame count, unless `official_ids` is set.
Where the ids are 1, 2, …, as in DAVIS itself, both count the same.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.ops.mask_metrics import contour_accuracy, region_similarity
from selfsup_motion.text.names import register_handler

__all__ = ["DavisEvaluator", "Statistics", "contour_accuracy", "region_similarity", "statistics"]

VOID = 255
"""Value of pixels in annotations that belong to nothing in particular."""

_MEASURES = ("J", "F")


class Statistics(NamedTuple):
    """Summary of one measure of one object."""

    mean: float
    """Over the frames."""
    recall: float
    """Share of the frames with a value above 0.5."""
    decay: float
    """Mean of the first quarter of the frames minus mean of the last."""


@dataclass(frozen=True)
class ObjectScore:
    """Values of one object.

    Attributes:
        sequence: name.
        object_id: value in the masks.
        values: (2, T) float64, J and F of each scored frame.
        first: number of the first of them, of the masks that were given.
    """

    sequence: str
    object_id: int
    values: NDArray[np.float64]
    first: int = 0

    @property
    def statistics(self) -> tuple[Statistics, Statistics]:
        """Of J and of F."""
        return statistics(self.values[0]), statistics(self.values[1])


def statistics(values: NDArray[np.float64]) -> Statistics:
    """Mean, recall and decay of (T,) values, T at least 1."""
    if not len(values):
        raise ValueError("statistics needs at least one value")
    quarters = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(np.int64) - 1
    # as in the toolkit, neighbouring quarters share a frame
    parts = [values[a : b + 1] for a, b in pairwise(quarters)]
    decay = np.mean(parts[0]) - np.mean(parts[3])
    return Statistics(float(np.mean(values)), float(np.mean(values > 0.5)), float(decay))


class DavisEvaluator:
    """Collects sequences, then tells J&F.

    Args:
        semi_supervised: the mask of the first frame was given: first and last frame do not count
            (the last for historical reasons), void pixels count as background. Otherwise all
            frames count, void pixels do not.
        official_ids: every id up to the largest one of the first true mask counts as an object, as
            in the official toolkit. Otherwise the ids that this mask has.
    """

    def __init__(self, semi_supervised: bool = True, official_ids: bool = False) -> None:
        self.semi_supervised, self.official_ids = semi_supervised, official_ids
        self.scores: list[ObjectScore] = []

    def add(
        self,
        sequence: str,
        predicted: Sequence[NDArray[np.uint8]],
        truth: Sequence[NDArray[np.uint8]],
        known: Sequence[ObjectScore] = (),
        starts: Mapping[int, int] | None = None,
    ) -> list[ObjectScore]:
        """Score a sequence.

        Objects are those of the first true mask (see `official_ids`), or those of `starts`. One
        that is predicted nowhere scores as an empty mask does.

        Args:
            sequence: name.
            predicted: T masks (H, W) uint8 of object ids.
            truth: T masks (H, W) uint8 of object ids, 255 where void.
            known: scores of some of its objects, which need not be computed again.
            starts: number of the true mask that was given of each object; its frames count from the
                next one on. Objects of which no frame counts are left out. None: the first mask.

        Returns:
            A score for each object.

        Raises:
            ValueError: different numbers or shapes of masks, no object in the first one, an
                unknown object in the prediction, or no frame that counts.
        """
        if len(predicted) != len(truth):
            raise ValueError(
                f"{sequence}: {len(predicted)} predicted masks, {len(truth)} true ones"
            )
        scored = range(1, len(truth) - 1) if self.semi_supervised else range(len(truth))
        if not scored:
            raise ValueError(f"{sequence}: none of its {len(truth)} frames counts")
        if starts is None:
            starts = {i: 0 for i in _ids(truth[0]) if i != VOID}
        objects = sorted(starts)
        if not objects:
            raise ValueError(f"{sequence}: there is no object in the first frame")
        if self.official_ids:
            objects = list(range(1, objects[-1] + 1))
            starts = dict.fromkeys(objects, 0)
        unknown = set[int]().union(*map(_ids, predicted)) - set(objects)
        if unknown:
            shown = ", ".join(map(str, objects[:8])) + (", …" if len(objects) > 8 else "")
            raise ValueError(
                f"{sequence}: predicted object {min(unknown)}, but the objects are {shown}"
            )
        added = {score.object_id: score for score in known}
        first = {i: max(start + self.semi_supervised, scored[0]) for i, start in starts.items()}
        objects = [i for i in objects if first[i] in scored]
        wanted = [i for i in objects if i not in added]
        values = np.empty((len(wanted), 2, len(scored)))
        for column, frame in enumerate(scored if wanted else ()):
            values[:, :, column] = self._score_frame(predicted[frame], truth[frame], wanted)
        for i, row in zip(wanted, values, strict=True):
            own = row[:, first[i] - scored[0] :]
            added[i] = ObjectScore(sequence, i, own, first[i])
        scores = [added[i] for i in objects]
        self.scores += scores
        return scores

    def add_scores(self, scores: Sequence[ObjectScore]) -> None:
        """Take over what an earlier `add` returned."""
        self.scores += scores

    def _score_frame(
        self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8], objects: Sequence[int]
    ) -> NDArray[np.float64]:
        """(N, 2): J and F of each object."""
        if predicted.shape != truth.shape:
            raise ValueError(f"masks must have one shape, got {predicted.shape} and {truth.shape}")
        void = None if self.semi_supervised else truth == VOID
        result = np.ones((len(objects), 2))  # what is in neither mask scores 1
        shown = {*_ids(predicted), *_ids(truth)}
        for index, number in enumerate(objects):
            if number not in shown:
                continue
            pair = predicted == number, truth == number
            result[index] = region_similarity(*pair, void), contour_accuracy(*pair, void)
        return result

    def summary(self) -> dict[str, float]:
        """`J&F`, and `J_mean` … `F_decay`: means over all objects of all sequences.

        Without the decays if each object has a single frame, which cannot get worse.
        """
        if not self.scores:
            raise ValueError("no sequence was added")
        table = np.array([score.statistics for score in self.scores]).mean(0)
        result = {"J&F": float(table[:, 0].mean())}
        for measure, row in zip(_MEASURES, table, strict=True):
            for name, value in zip(Statistics._fields, row, strict=True):
                if name == "decay" and all(s.values.shape[1] == 1 for s in self.scores):
                    continue
                result[f"{measure}_{name}"] = float(value)
        return result

    def by_sequence(self) -> dict[str, dict[str, float]]:
        """`summary` of each sequence by itself."""
        return {name: self._part({name}) for name in dict.fromkeys(s.sequence for s in self.scores)}

    def by_attribute(self, attributes: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """`summary` over the sequences with an attribute.

        Args:
            attributes: of each sequence, e.g. `{"dog": ["FM", "OCC"]}`.
        """
        known = {s.sequence for s in self.scores}
        names = sorted({name for sequence in known for name in attributes.get(sequence, ())})
        return {
            name: self._part({s for s in known if name in attributes.get(s, ())}) for name in names
        }

    def write(self, folder: Path, attributes: Mapping[str, Sequence[str]] | None = None) -> None:
        """Write `global.csv`, `per_sequence.csv`, `per_object.csv` and `per_frame.csv`.

        Args:
            folder: exists.
            attributes: of each sequence; adds `per_attribute.csv`.
        """
        _write_table(folder / "global.csv", "", {"": self.summary()})
        _write_table(folder / "per_sequence.csv", "sequence", self.by_sequence())
        objects = {f"{s.sequence}_{s.object_id}": _only([s]).summary() for s in self.scores}
        _write_table(folder / "per_object.csv", "object", objects)
        if attributes is not None:
            _write_table(folder / "per_attribute.csv", "attribute", self.by_attribute(attributes))
        with (folder / "per_frame.csv").open(
            "w", newline="", encoding="utf-8", errors=register_handler()
        ) as stream:
            writer = csv.writer(stream)
            writer.writerow(("sequence", "object", "frame", *_MEASURES))
            for score in self.scores:
                for frame, pair in enumerate(score.values.T, score.first):
                    writer.writerow((score.sequence, score.object_id, frame, *pair.tolist()))

    def _part(self, sequences: set[str]) -> dict[str, float]:
        return _only([s for s in self.scores if s.sequence in sequences]).summary()


def _ids(mask: NDArray[np.uint8]) -> list[int]:
    """Those in a mask, in rising order, without 0."""
    found: list[int] = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()
    return [i for i in found if i]


def _only(scores: Sequence[ObjectScore]) -> DavisEvaluator:
    part = DavisEvaluator()
    part.add_scores(scores)
    return part


def _write_table(path: Path, key: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors=register_handler()) as stream:
        writer = csv.writer(stream)
        names = list(dict.fromkeys(name for values in rows.values() for name in values))
        writer.writerow([*([key] if key else []), *names])
        for name, values in rows.items():
            cells = [values.get(column, "") for column in names]
            writer.writerow([*([name] if key else []), *cells])

"""Scores of sequences with masks: which frames and objects count, and what is said about them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np

from selfsup_motion.data.reading.mask_reading import Ids, objects_of
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.davis_metrics import VOID, DavisEvaluator
from selfsup_motion.tasks.propagation.object_starts import object_starts
from selfsup_motion.tasks.propagation.sequences import LabelledVideo

log = logging.getLogger(__name__)

Prediction = Callable[[int], Ids]
"""The mask of a frame, by its number in the video."""

_MOST_NAMED = 5


class DavisScores:
    """Scores of one or more results for the same sequences, on the same frames and objects.

    Frames without annotation do not count, and neither do those that are void everywhere.

    Args:
        official_ids: see `DavisEvaluator`; frames that are void everywhere then count, as
            background.

    Attributes:
        evaluators: of each result, by its name; empty before the first sequence that counts.
    """

    def __init__(self, official_ids: bool) -> None:
        self.evaluators: dict[str, DavisEvaluator] = {}
        self._official_ids = official_ids
        self._official = DavisEvaluator(official_ids=True)  # of the first result, to compare
        self._gaps: list[str] = []
        self._late: list[str] = []
        self._void: list[str] = []

    def add(self, video: LabelledVideo, predictions: Mapping[str, Prediction]) -> None:
        """Score the results for a sequence.

        Args:
            video: with masks.
            predictions: of each result, by its name; the first one is the one that matters.

        Raises:
            UserError: a result does not fit the annotations.
        """
        frames, truth = self._annotated(video)
        if len(truth) < 3:
            log.warning(
                "%s: not scored, it has %d annotated frames, of which the first and the last never "
                "count.", video.name, len(truth),
            )  # fmt: skip
            return
        starts = None if self._official_ids else _starts(truth)
        self._note(video.name, truth, starts)
        for number, (name, predict) in enumerate(predictions.items()):
            predicted = [predict(frame) for frame in frames]
            for frame, ours, theirs in zip(frames, predicted, truth, strict=True):
                if ours.shape != theirs.shape:
                    raise UserError(
                        f"{video.name}: the annotation of frame {video.frame_names[frame]} is "
                        f"{theirs.shape[0]}x{theirs.shape[1]} pixels, the first one "
                        f"{ours.shape[0]}x{ours.shape[1]}."
                    )
            evaluator = self.evaluators.setdefault(name, DavisEvaluator(True, self._official_ids))
            try:
                scores = evaluator.add(video.name, predicted, truth, starts=starts)
                if number == 0 and objects_of(truth[0]):
                    first = set(objects_of(truth[0]))
                    known = [score for score in scores if score.object_id in first]
                    self._official.add(video.name, _only(predicted, first), truth, known)
            except ValueError as error:
                raise UserError(f"{error}.") from error

    def log_differences(self) -> None:
        """Say which objects and frames are counted in another way than may be expected."""
        if self._gaps and self._official_ids:
            log.warning(
                "%s: the ids of the objects have gaps. With task.official_ids=true every id up to "
                "the largest one counts as an object, and scores 1 if it does not occur.",
                _named(self._gaps),
            )
        elif self._gaps:
            ours = next(iter(self.evaluators.values())).summary()["J&F"]
            theirs = self._official.summary()["J&F"]
            log.warning(
                "%s: the ids of the objects have gaps; those that occur are "
                "scored. The official toolkit also counts the ids between them, which score 1 "
                "if they do not occur: J&F %.3f instead of %.3f (task.official_ids=true).",
                _named(self._gaps), theirs, ours,
            )  # fmt: skip
        if self._late and self._official_ids:
            log.warning(
                "%s: objects that the first frame does not show appear later. With "
                "task.official_ids=true they are not followed, and count as background.",
                _named(self._late),
            )
        elif self._late:
            log.info(
                "%s: objects that appear later are followed from the first frame that shows them, "
                "and scored from the next one on.", _named(self._late),
            )  # fmt: skip
        if self._void:
            log.warning("%s: frames that are void everywhere do not count.", _named(self._void))

    def _annotated(self, video: LabelledVideo) -> tuple[list[int], list[Ids]]:
        frames, truth = [], []
        for index in range(len(video.frame_names)):
            mask = video.mask(index)
            if mask is None:  # as in the toolkit: it does not exist for the score
                continue
            if not self._official_ids and (mask == VOID).all():
                if not self._void or self._void[-1] != video.name:
                    self._void.append(video.name)
                continue
            frames.append(index)
            truth.append(mask)
        return frames, truth

    def _note(self, name: str, truth: list[Ids], starts: Mapping[int, int] | None) -> None:
        first = objects_of(truth[0])
        later = set[int]().union(*(objects_of(mask) for mask in truth[1:])) - set(first)
        shown = sorted(starts) if starts else first
        if shown and len(shown) != shown[-1]:
            self._gaps.append(f"{name} ({', '.join(map(str, shown[:8]))})")
        if later:
            self._late.append(f"{name} ({', '.join(map(str, sorted(later)[:8]))})")


def _starts(truth: list[Ids]) -> dict[int, int]:
    """Number of the mask that was given of each object."""
    masks = {number: np.where(mask == VOID, 0, mask) for number, mask in enumerate(truth)}
    return {i: number for number, own in object_starts(masks).items() for i in own}


def _only(masks: list[Ids], objects: set[int]) -> list[Ids]:
    """Masks without other objects."""
    return [np.where(np.isin(mask, list(objects)), mask, 0).astype(np.uint8) for mask in masks]


def _named(sequences: list[str]) -> str:
    more = f" and {len(sequences) - _MOST_NAMED} more sequences"
    shown = ", ".join(sequences[:_MOST_NAMED])
    return shown + (more if len(sequences) > _MOST_NAMED else "")

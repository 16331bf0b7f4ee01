"""One question of SEVERE-mini: labelled videos to learn from, others to be recognised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.errors import UserError
from selfsup_motion.tasks.actions.videos import ActionSet, ClipViews


class Question:
    """What is asked of frozen features.

    Args:
        train: videos to learn from.
        test: videos to be recognised.
        views: clips of each video.
        still: ask the same again of clips that show one frame all the time.
        examples: ask the same again with so many training videos of each class.
        number: the classes are numbers in order; the mean error of the answer is told as well.
    """

    def __init__(
        self,
        *,
        train: ActionSet,
        test: ActionSet,
        views: ClipViews,
        still: bool = False,
        examples: Sequence[int] = (),
        number: bool = False,
    ) -> None:
        if train.classes != test.classes:
            raise UserError("A question's train and test have different classes: use one world.")
        if any(count < 1 for count in examples):
            raise UserError(f"examples={list(examples)}: expected numbers of at least 1.")
        self.train, self.test, self.views = train, test, views
        self.still, self.examples, self.number = still, tuple(examples), number

    @property
    def chance(self) -> float:
        """The share that guessing gets right."""
        return 1 / len(self.train.classes)


def frozen(clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(V, T, 3, H, W) → the same shape; each clip shows its middle frame all the time."""
    middle = clips.shape[1] // 2
    return np.repeat(clips[:, middle : middle + 1], clips.shape[1], axis=1)


def few(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places of the first `count` videos of each class, in order."""
    places = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(places))

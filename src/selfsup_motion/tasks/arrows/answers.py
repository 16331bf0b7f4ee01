"""A CMP's answers to arrows, clicks and hints on one image, which is encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.methods.cmp.clicks import click_score
from selfsup_motion.methods.cmp.propagate import EncodedImages
from selfsup_motion.methods.cmp.steps import as_step
from selfsup_motion.ops.mask_refinement import refine_grabcut
from selfsup_motion.ops.motion_refinement import refine_motion
from selfsup_motion.tasks.arrows.questions import (
    LENGTH,
    Asked,
    Mask,
    Points,
    Question,
    moved,
    pins_of,
)
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.weights.trained_cmp import Weights


@dataclass(frozen=True)
class Answer:
    """What a network takes for the object.

    Attributes:
        region: (H, W).
        score: (H, W) float32 in [0, 1], how much each pixel belongs to it.
        motion: to arrows: flow (2, H, W) in pixels, and points and vectors (K, 2) of the arrows.
    """

    region: Mask
    score: NDArray[np.float32]
    motion: tuple[NDArray[np.float32], Points, Points] | None = None


class AskedNetwork:
    """A CMP that looks at one image.

    Args:
        weights: the network.
        image: (3, H, W) uint8.
    """

    def __init__(self, weights: Weights, image: Frame) -> None:
        self._weights = weights
        self._image = torch.from_numpy(np.ascontiguousarray(image))

    @cached_property
    def _encoded(self) -> EncodedImages:
        return self._encode(self._image)

    def flow(self, points: Points, vectors: Points) -> NDArray[np.float32]:
        """The motion of all pixels, asked for as `animate` does: see `as_step`.

        Args:
            points: (K, 2) x, y.
            vectors: (K, 2) in pixels.

        Returns:
            (2, H, W) in pixels.
        """
        step, factor = as_step(torch.from_numpy(vectors), min(self._image.shape[-2:]))
        flow = self._encoded.propagate(torch.from_numpy(points), step).cpu().numpy()
        return np.asarray(flow * factor, np.float32)

    def arrow(self, points: Points, vectors: Points) -> Answer:
        """What moves farther than half the arrow; the score is the share of the arrow's length."""
        flow = self.flow(points, vectors)
        length = LENGTH * min(flow.shape[1:])
        score = np.asarray((np.hypot(*flow) / length).clip(0, 1), np.float32)
        return Answer(moved(flow), score, (flow, points, vectors))

    def clicks(
        self, positive: Points, negative: Points, *, zoom: float | None, threshold: float
    ) -> Answer:
        """What `annotate` scores above a threshold.

        Args:
            positive: (K, 2) x, y on the object.
            negative: (L, 2) beside it.
            zoom: see `click_score`.
            threshold: in [0, 1).
        """

        def move(image: Tensor, places: Tensor, vectors: Tensor) -> Tensor:
            encoded = self._encoded if image is self._image else self._encode(image)
            return encoded.propagate(places, vectors)

        score = click_score(move, self._image, positive, negative, zoom=zoom)
        return Answer(score > threshold, score)

    def answer(
        self, question: Question, asked: Asked, *, zoom: float | None, threshold: float
    ) -> Answer:
        """What is asked about a question; clicks as in `clicks`."""
        if (pins := pins_of(asked)) is not None:
            return self.arrow(*question.arrow(pins))
        given = question.positive, question.negative
        if asked == "click_1":
            given = question.point, question.negative[:0]
        return self.clicks(*given, zoom=zoom, threshold=threshold)

    def refined(self, answer: Answer, threshold: float) -> Mask:
        """An answer cut along colours and edges, as `animate` and `annotate` do."""
        if answer.motion is not None:
            flow, points, vectors = (torch.from_numpy(part) for part in answer.motion)
            return moved(refine_motion(flow, self._image, points, vectors).numpy())
        return np.asarray(refine_grabcut(answer.score, self._image) > threshold)

    def _encode(self, image: Tensor) -> EncodedImages:
        method = self._weights.method
        return method.encode(image.to(method.device), short_side=self._weights.short_side)

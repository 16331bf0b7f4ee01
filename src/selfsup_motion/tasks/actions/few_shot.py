"""Few-shot recognition with frozen features: the nearest of a few classes' prototypes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.errors import UserError

Metric = Literal["cosine", "euclidean"]

log = logging.getLogger(__name__)


class FewShot:
    """N-way K-shot episodes (Snell et al., Prototypical Networks, NeurIPS 2017, without training).

    An episode draws N classes, K training videos of each, and some test videos of each. A class's
    prototype is the mean of its K features; a test video is taken for the class whose prototype is
    nearest. Examples never come from the test part: there, clips of one recording would meet.

    Args:
        ways: N, classes of an episode.
        shots: values of K, each scored by itself.
        queries: test videos of each class of an episode.
        episodes: how many.
        metric: cosine (features are scaled to length 1 before they are averaged) or euclidean.
        seed: of the episodes; equal for all encoders, so that they meet the same ones.
    """

    def __init__(
        self,
        *,
        ways: int,
        shots: Sequence[int],
        queries: int,
        episodes: int,
        metric: Metric,
        seed: int,
    ) -> None:
        least = {"ways": (ways, 2), "queries": (queries, 1), "episodes": (episodes, 2)}
        for name, (value, lowest) in least.items():
            if value < lowest:
                raise UserError(f"task.few_shot.{name}={value}: expected at least {lowest}.")
        if not shots or min(shots) < 1:
            raise UserError(f"task.few_shot.shots={list(shots)}: expected numbers of at least 1.")
        if metric not in ("cosine", "euclidean"):
            raise UserError(f"task.few_shot.metric={metric}: choose cosine or euclidean.")
        if seed < 0:
            raise UserError(f"task.few_shot.seed={seed}: expected at least 0.")
        self.ways, self.shots, self.queries = ways, tuple(shots), queries
        self.episodes, self.metric, self.seed = episodes, metric, seed
        self._told: set[int] = set()

    def __call__(
        self, gallery: Tensor, labels: Tensor, queries: Tensor, truth: Tensor
    ) -> dict[str, float]:
        """Score features.

        Classes with fewer than K training or `queries` test videos take no part; where fewer than N
        are left, K is left out and the log says so.

        Args:
            gallery: (G, C) of the training videos.
            labels: (G,) their classes.
            queries: (Q, C) of the test videos.
            truth: (Q,) their classes.

        Returns:
            For each K `fewshot_<N>way_<K>shot`, the mean accuracy in [0, 1], and the same with
            `_ci95`, the half width of its 95 % confidence interval over episodes; without it if
            there is only one possible episode.
        """
        if self.metric == "cosine":
            gallery, queries = F.normalize(gallery, dim=1), F.normalize(queries, dim=1)
        examples, tests = _by_class(labels), _by_class(truth)
        scores: dict[str, float] = {}
        for shots in self.shots:
            classes = [
                label
                for label, found in examples.items()
                if len(found) >= shots and len(tests.get(label, ())) >= self.queries
            ]
            if len(classes) < self.ways:
                # said once, however many encoders are scored
                level = logging.DEBUG if shots in self._told else logging.WARNING
                self._told.add(shots)
                log.log(
                    level,
                    "Few-shot left out: %d classes have %d training and %d test videos, but %d "
                    "ways with %d shots need %d of them. Lower task.few_shot.ways or .queries.",
                    len(classes), shots, self.queries, self.ways, shots, self.ways,
                )  # fmt: skip
                continue
            rng = np.random.default_rng([self.seed, self.ways, shots])
            right = np.empty(self.episodes)
            for episode in range(self.episodes):
                drawn = [classes[i] for i in rng.permutation(len(classes))[: self.ways]]
                support = _draw(rng, [examples[c] for c in drawn], shots)
                asked = _draw(rng, [tests[c] for c in drawn], self.queries)
                right[episode] = _accuracy(gallery[support], queries[asked], self.metric)
            name = f"fewshot_{self.ways}way_{shots}shot"
            scores[name] = float(right.mean())
            sizes = {(len(examples[c]), len(tests[c])) for c in classes}
            if len(classes) > self.ways or sizes != {(shots, self.queries)}:
                scores[f"{name}_ci95"] = float(1.96 * right.std(ddof=1) / np.sqrt(self.episodes))
        return scores


def prototype_scores(support: Tensor, queries: Tensor, metric: Metric) -> Tensor:
    """Score each class for each query, the nearest prototype highest.

    Args:
        support: (N, K, C) examples of N classes; of length 1 for cosine.
        queries: (Q, C).
        metric: of the distance to the mean of the examples.

    Returns:
        (Q, N).
    """
    prototypes = support.mean(1)
    if metric == "cosine":
        return F.normalize(queries, dim=1) @ F.normalize(prototypes, dim=1).T
    return -torch.cdist(queries, prototypes)


def _accuracy(support: Tensor, queries: Tensor, metric: Metric) -> float:
    """(N, K, C) examples and (N, Q, C) queries of the same N classes → share that is right."""
    scores = prototype_scores(support, queries.flatten(0, 1), metric)
    truth = torch.arange(len(support)).repeat_interleave(queries.shape[1])
    return float((scores.argmax(1) == truth).double().mean())


def _by_class(labels: Tensor) -> dict[int, NDArray[np.int64]]:
    """Where each class is."""
    numbers = labels.numpy()
    return {int(label): np.flatnonzero(numbers == label) for label in np.unique(numbers)}


def _draw(rng: np.random.Generator, places: Sequence[NDArray[np.int64]], count: int) -> Tensor:
    """(N, count): so many of each class, without repetition."""
    return torch.from_numpy(np.stack([rng.permutation(p)[:count] for p in places]))

"""The action tasks with frozen features: linear probe, neighbours, retrieval, few-shot."""

from __future__ import annotations

import csv
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_file
from selfsup_motion.tasks.actions.few_shot import FewShot
from selfsup_motion.tasks.actions.videos import ActionSet, ClipViews
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.scores import (
    LinearProbe,
    knn_scores,
    neighbours,
    recalls,
    top_k,
    top_scores,
)
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.names import register_handler
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.weights.used import untrained_copy

log = logging.getLogger(__name__)


class Actions(Task):
    """Features of all clips of all videos, once; then everything that can be told of them.

    A video's feature is the mean over its clips and windows (all but the linear probe); its
    answer is the mean of the probabilities of its clips (linear probe). The gallery and what is
    learned from are the training part, queries the test part; every video counts.

    Args:
        train: videos to learn from.
        test: videos to be recognised.
        views: clips and windows of each video.
        neighbours: k of the k-nearest-neighbour classifier.
        temperature: of its votes.
        recall_at: values of k of the retrieval's R@k.
        penalty: of the linear probe.
        probe_steps: of the linear probe, at most.
        few_shot: episodes with few examples; None: none.
        baselines: what is scored beside the encoder: "untrained" is the encoder before training.
        seed: of its weights then.

    Attributes:
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "actions", "encoder": "any"}
    unit: ClassVar[str] = "videos"

    def __init__(
        self,
        *,
        train: ActionSet,
        test: ActionSet,
        views: ClipViews,
        neighbours: int,
        temperature: float,
        recall_at: Sequence[int],
        penalty: float,
        probe_steps: int,
        few_shot: FewShot | None,
        baselines: Sequence[Literal["untrained"]],
        seed: int,
    ) -> None:
        if train.classes != test.classes:
            raise UserError("task.train and task.test have different classes: use one data set.")
        for name, value in (("neighbours", neighbours), ("probe_steps", probe_steps)):
            if value < 1:
                raise UserError(f"task.{name}={value}: expected at least 1.")
        if not temperature > 0 or penalty < 0:
            raise UserError(
                f"task.temperature={temperature:g} must be above 0 and task.penalty={penalty:g} "
                "not below."
            )
        if not recall_at or min(recall_at) < 1:
            raise UserError(f"task.recall_at={list(recall_at)}: expected numbers of at least 1.")
        self.train, self.test, self.view = train, test, views
        self.neighbours, self.temperature = neighbours, temperature
        self.recall_at, self.penalty, self.probe_steps = tuple(recall_at), penalty, probe_steps
        self.few_shot, self.baselines, self.seed = few_shot, tuple(baselines), seed
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
            encoder: see `ClipFeatures`.
            folder: gets `features_train.npz`, `features_test.npz` and `predictions.csv`, and of a
                baseline the same in `baselines/<name>`.
            device: to compute features on.
            reuse: take over the features that the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            Shares in [0, 1]: `linear_top1`, `linear_top5` per video, `linear_clip_top1` per clip,
            `knn_top1` and `R@k` per video, `fewshot_…` (see `FewShot`). Those that could not be
            otherwise are left out: top-5 of five classes, R@k of k videos.

        Raises:
            UserError: a video cannot be read, or the encoder is of no known kind.
        """
        encoders = {"": encoder}
        if "untrained" in self.baselines and (copy := untrained_copy(encoder, self.seed)):
            encoders["untrained"] = copy
        made = {name: ClipFeatures(one).to(device) for name, one in encoders.items()}
        folders = {name: folder / "baselines" / name if name else folder for name in made}
        total, done = len(self.train.names) + len(self.test.names), 0
        found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in made}
        for part_name, part in (("train", self.train), ("test", self.test)):
            files = {name: folders[name] / f"features_{part_name}.npz" for name in made}
            known: dict[str, NDArray[np.float32]] = {}
            for name, file in files.items():
                stored = _stored_features(file, part.labels) if reuse else None
                if stored is not None:
                    known[name] = stored
            lacking = {name: one for name, one in made.items() if name not in known}
            rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in lacking}
            for index, video in enumerate(part.names if lacking else ()):
                # decoded once, whoever looks at it
                clips = torch.from_numpy(part.views(index, self.view)).to(device)
                for name, one in lacking.items():
                    rows[name].append(one(clips).cpu().numpy())
                if progress:
                    progress(done + index + 1, total, video)
            done += len(part.names)
            for name in lacking:
                known[name] = np.stack(rows[name])
                with new_file(files[name]) as draft, draft.open("wb") as stream:
                    np.savez(stream, features=known[name], labels=part.labels)
            labels = torch.from_numpy(part.labels)
            for name in made:
                found[name].append((torch.from_numpy(known[name]), labels))
        scores = {
            name: self._score(train, test, folders[name]) for name, (train, test) in found.items()
        }
        self.beside = {name: values for name, values in scores.items() if name}
        return scores[""]

    def _score(
        self, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], folder: Path
    ) -> dict[str, float]:
        """Features are (N, views, C)."""
        (gallery, labels), (queries, truth) = train, test
        classes, views = len(self.train.classes), gallery.shape[1]
        most = max(self.neighbours, *self.recall_at)
        videos, asked = gallery.mean(1), queries.mean(1)
        found, similarity = neighbours(asked, videos, most)
        k = self.neighbours
        votes = knn_scores(found[:, :k], similarity[:, :k], labels, classes, self.temperature)
        probe = LinearProbe(
            gallery.flatten(0, 1),
            labels.repeat_interleave(views),
            classes,
            penalty=self.penalty,
            steps=self.probe_steps,
        )
        each = probe.probabilities(queries.flatten(0, 1))
        whole = each.view(len(queries), views, classes).mean(1)
        self._write(folder / "predictions.csv", whole, votes, found, truth)
        return {
            **top_scores("linear_top", whole, truth),
            "linear_clip_top1": top_k(each, truth.repeat_interleave(views), 1),
            "knn_top1": top_k(votes, truth, 1),
            **recalls(found, labels, truth, self.recall_at),
            **(self.few_shot(videos, labels, asked, truth) if self.few_shot else {}),
        }

    def _write(
        self, path: Path, linear: Tensor, votes: Tensor, found: Tensor, truth: Tensor
    ) -> None:
        names = self.test.classes
        with path.open("w", newline="", encoding="utf-8", errors=register_handler()) as stream:
            writer = csv.writer(stream)
            writer.writerow(("video", "class", "linear", "knn", "nearest"))
            for i, video in enumerate(self.test.names):
                answers = names[int(linear[i].argmax())], names[int(votes[i].argmax())]
                nearest = self.train.names[int(found[i, 0])]
                writer.writerow((video, names[int(truth[i])], *answers, nearest))


def _stored_features(file: Path, labels: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The (N, views, C) features of an earlier run; None if there are none that are whole."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            features, known = arrays["features"], arrays["labels"]
        if features.ndim == 3 and len(features) == len(labels) and np.array_equal(known, labels):
            return np.asarray(features, np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass
    log.warning("%s is damaged or belongs to other videos; it is computed again.", file)
    return None

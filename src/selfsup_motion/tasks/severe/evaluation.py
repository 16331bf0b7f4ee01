"""SEVERE-mini: what an encoder's features are worth where it is harder than usual.

After the SEVERE benchmark (Thoker, Doughty, Bagad and Snoek, How Severe is Benchmark-Sensitivity in
Video Self-Supervised Learning?, ECCV 2022): another domain, few samples, fine actions, another
task. Two controls say whether features see the scene or the motion.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_file, write_text
from selfsup_motion.files.inputs import FOLDER, check_exists
from selfsup_motion.tasks.actions.videos import ActionVideos, ClipViews
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.scores import LinearProbe, top_k
from selfsup_motion.tasks.severe.question import Question, few, frozen
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.weights.used import untrained_copy

AXES: dict[str, tuple[str, ...]] = {
    "domain": ("toy", "natural", "real"),
    "samples": ("toy_few",),
    "fine": ("speed", "direction", "order"),
    "task": ("repetitions",),
}
"""Questions of the four axes, by name or by what comes before a number; the rest are controls."""

_PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")


class SevereMini(Task):
    """A linear probe for each question; the score is what is above chance, over four axes.

    Args:
        questions: by name, in the order of the table; see `AXES` for those that count.
        real: a folder of class folders of videos (class/x.mp4): the domain `real`. None: left out.
        real_views: clips of its videos.
        test_share: of its videos, where it has no folders called train and test.
        penalty: of the linear probes' squared weights.
        probe_steps: of the linear probes, at most.
        baselines: "untrained": the encoder before training is scored as well.
        seed: of its weights then.

    Attributes:
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "severe", "encoder": "any"}
    unit: ClassVar[str] = "videos"

    def __init__(
        self,
        *,
        questions: Mapping[str, Question],
        real: str | Path | None = None,
        real_views: ClipViews,
        test_share: float = 0.25,
        penalty: float = 1e-3,
        probe_steps: int = 200,
        baselines: Sequence[Literal["untrained"]] = ("untrained",),
        seed: int = 0,
    ) -> None:
        if not questions:
            raise UserError("task.questions is empty: expected at least one question.")
        if penalty < 0 or probe_steps < 1:
            raise UserError(
                f"task.penalty={penalty:g} must not be below 0 and task.probe_steps={probe_steps} "
                "not below 1."
            )
        self.questions = dict(questions)
        if real is not None:
            check_exists("task.real", str(real), FOLDER)
            train, test = (
                ActionVideos(
                    root=real, part=part, layout="folder", lists=None, split=1,
                    test_share=test_share, short_side=None,
                )
                for part in _PARTS
            )  # fmt: skip
            self.questions["real"] = Question(train=train, test=test, views=real_views)
        self.penalty, self.probe_steps = penalty, probe_steps
        self.baselines, self.seed = tuple(baselines), seed
        self.beside: dict[str, dict[str, float]] = {}
        self._chances: dict[str, float] = {}

    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """Ask everything.

        Args:
            encoder: see `ClipFeatures`.
            folder: gets `severe_mini.csv`, the table, and `questions/<name>.json`, what is scored.
            device: to compute features on.
            reuse: take over the questions that the folder has answers to.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            Shares in [0, 1]: a question's name with the share of test videos that the linear probe
            names rightly, `<name>_still` the same of frozen clips, `<name>_few<k>` of k training
            videos a class, and `<name>_error` the mean error of numbers; `above_chance`, the mean
            over the axes of (share − chance) / (1 − chance).
        """
        encoders = {"": encoder}
        if "untrained" in self.baselines and (copy := untrained_copy(encoder, self.seed)):
            encoders["untrained"] = copy
        made = {name: ClipFeatures(one).to(device) for name, one in encoders.items()}
        scores: dict[str, dict[str, float]] = {name: {} for name in made}
        total = sum(len(q.train.names) + len(q.test.names) for q in self.questions.values())
        done = 0  # videos
        for name, question in self.questions.items():
            kept = folder / "questions" / f"{name}.json"
            answers = _stored(kept, made) if reuse else None
            if answers is None:
                tell = partial(_told, progress, done, total, name)
                answers = self._ask(name, question, made, tell)
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_text(kept, json.dumps(answers, indent=2))
            done += len(question.train.names) + len(question.test.names)
            for key, found in scores.items():
                found |= answers[key]
            self._chances |= dict.fromkeys(scores[""].keys() - self._chances, question.chance)
        for found in scores.values():
            found["above_chance"] = above_chance(found, self._chances)
        self.beside = {name: values for name, values in scores.items() if name}
        self._write(folder / "severe_mini.csv", scores)
        return scores[""]

    def summary(self) -> dict[str, Any]:
        """The share that guessing gets right, of each question."""
        shares = {n: c for n, c in self._chances.items() if not n.endswith("_error")}
        return {"chance": shares}

    def _ask(
        self,
        name: str,
        question: Question,
        encoders: Mapping[str, ClipFeatures],
        tell: Callable[[int, str], None],
    ) -> dict[str, dict[str, float]]:
        """What each encoder scores; `tell` gets the number of videos seen and the last one."""
        parts, done = [], 0
        for part in (question.train, question.test):
            rows: dict[str, list[Tensor]] = {key: [] for key in encoders}
            stills: dict[str, list[Tensor]] = {key: [] for key in encoders}
            for index, video in enumerate(part.names):
                clips = part.views(index, question.views)
                for key, one in encoders.items():
                    rows[key].append(one(torch.from_numpy(clips)).cpu())
                    if question.still:
                        stills[key].append(one(torch.from_numpy(frozen(clips))).cpu())
                done += 1
                tell(done, video)
            parts.append((rows, stills, part.labels))
        (seen, seen_still, labels), (asked, asked_still, truth) = parts
        scores = {}
        for key in encoders:
            found = self._answers(name, question, seen[key], labels, asked[key], truth)
            if question.still:
                gallery, queries = seen_still[key], asked_still[key]
                found[f"{name}_still"] = self._probe(gallery, labels, queries, truth)[0]
            scores[key] = found
        return scores

    def _answers(
        self,
        name: str,
        question: Question,
        seen: Sequence[Tensor],
        labels: NDArray[np.int64],
        asked: Sequence[Tensor],
        truth: NDArray[np.int64],
    ) -> dict[str, float]:
        share, answers = self._probe(seen, labels, asked, truth)
        found = {name: share}
        if question.number:
            found[f"{name}_error"] = float(np.abs(answers.numpy() - truth).mean())
        for count in question.examples:
            chosen = few(labels, count)
            some = [seen[i] for i in chosen]
            found[f"{name}_few{count}"] = self._probe(some, labels[chosen], asked, truth)[0]
        return found

    def _probe(
        self,
        seen: Sequence[Tensor],
        labels: NDArray[np.int64],
        asked: Sequence[Tensor],
        truth: NDArray[np.int64],
    ) -> tuple[float, Tensor]:
        """Features are (views, C) of each video. Returns the share that is right, and answers."""
        gallery, queries = torch.stack(list(seen)), torch.stack(list(asked))
        known, right = torch.from_numpy(labels), torch.from_numpy(truth)
        classes = int(max(labels.max(), truth.max())) + 1
        probe = LinearProbe(
            gallery.flatten(0, 1),
            known.repeat_interleave(gallery.shape[1]),
            classes,
            penalty=self.penalty,
            steps=self.probe_steps,
        )
        each = probe.probabilities(queries.flatten(0, 1))
        whole = each.view(*queries.shape[:2], classes).mean(1)
        return top_k(whole, right, 1), whole.argmax(1)

    def _write(self, path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
        rows = [name or "encoder" for name in scores]
        with new_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("question", *rows, "chance"))
            for name in scores[""]:
                known = name in self._chances and not name.endswith("_error")
                chance = f"{self._chances[name]:.4f}" if known else ""
                values = [f"{found[name]:.4f}" for found in scores.values()]
                writer.writerow((name, *values, chance))


def _told(
    progress: OnProgress | None, before: int, total: int, name: str, done: int, video: str
) -> None:
    if progress:
        progress(before + done, total, f"{name}: {video}")


def _stored(file: Path, encoders: Iterable[str]) -> dict[str, dict[str, float]] | None:
    """The scores that an earlier start wrote, if it asked the same encoders."""
    if not file.exists():
        return None
    found: dict[str, dict[str, float]] = json.loads(file.read_text("utf-8"))
    return found if set(found) == set(encoders) else None


def above_chance(found: Mapping[str, float], chances: Mapping[str, float]) -> float:
    """Mean over the axes, each the mean over its questions of (share − chance) / (1 − chance).

    Args:
        found: shares by name.
        chances: likewise.

    Returns:
        1 if all is right, 0 for guessing; NaN if no question of an axis was asked.
    """
    axes = []
    for names in AXES.values():
        of_axis = [
            (share - chances[name]) / (1 - chances[name])
            for name, share in found.items()
            if name in names or name.rstrip("0123456789") in names
        ]
        if of_axis:
            axes.append(float(np.mean(of_axis)))
    return float(np.mean(axes)) if axes else float("nan")

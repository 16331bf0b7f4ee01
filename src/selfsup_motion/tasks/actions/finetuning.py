"""Fine-tuning: an encoder and a fresh linear layer learn to name the actions of videos.

As MoSI was judged (Huang et al., CVPR 2021): random clips in training; at test several clips and
windows of each video, whose probabilities are averaged.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.rank_weight import gathered
from selfsup_motion.methods.parts.schedules import every_step
from selfsup_motion.models.encoder import declared, sees_clips
from selfsup_motion.models.pooling import clip_features, input_levels
from selfsup_motion.ops.color_jitter import color_jitter
from selfsup_motion.ops.motion_pictures import captioned
from selfsup_motion.tasks.features.scores import top_scores
from selfsup_motion.tasks.task import Needs
from selfsup_motion.text.names import register_handler


class ActionHead(nn.Module):
    """Dropout and a linear layer.

    Args:
        in_channels: of the features.
        classes: number of classes.
        dropout: probability.
    """

    def __init__(self, in_channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(in_channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C) → (N, classes) scores."""
        scores: Tensor = self.out(self.dropout(features))
        return scores


@dataclass(frozen=True)
class _Answer:
    """What was said of one test video."""

    video: str
    truth: int
    probabilities: list[float]
    """Of the classes, mean over the views."""
    right: float
    """Share of the views that alone name the right class."""
    loss: float
    """Mean cross-entropy of the views."""


class ActionFinetuning(Method):
    """Clips → which action?

    Training batches come from `ActionView`, validation batches from `ActionTestView`: all views of
    a video are one sample, so that each video is counted once, whatever the number of devices.
    """

    needs: ClassVar[Needs] = {"labels": "actions", "encoder": "any"}

    def __init__(
        self,
        *,
        encoder: nn.Module,
        classes: Sequence[str],
        dropout: float,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        """Assemble the classifier.

        Args:
            encoder: see `models.encoder.Encoder`; all of it is trained.
            classes: names of the actions, in the order of the labels.
            dropout: before the linear layer, probability.
            optimizer: makes an optimiser of parameter groups; its weight decay spares
                normalisation and biases.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: an encoder that does not say what it sees or gives.
        """
        super().__init__()
        for name, level in zip(("mean", "std"), input_levels(encoder), strict=True):
            self.register_buffer(name, level, persistent=False)
        # an encoder that was loaded for evaluation would keep its statistics as they are
        self.encoder = encoder.train().requires_grad_(True)
        self.classes = list(classes)
        self.head = ActionHead(declared(encoder, "out_channels"), len(self.classes), dropout)
        self.make_optimizer, self.make_schedule = optimizer, schedule
        clips = sees_clips(encoder)
        self.to(memory_format=torch.channels_last_3d if clips else torch.channels_last)
        self._answers: list[_Answer] = []

    def forward(self, clips: Tensor, color: Tensor | None = None) -> Tensor:
        """Name the actions of clips.

        Args:
            clips: (N, T, 3, H, W) uint8 RGB.
            color: (N, 1, 4) factors of `color_jitter`.

        Returns:
            (N, classes) scores.
        """
        x = clips.float() / 255 if color is None else color_jitter(clips, color)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        scores: Tensor = self.head(clip_features(self.encoder, x, mean, std))
        return scores

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        scores, truth = self(batch["clip"], batch.get("color")), batch["action"]
        loss = F.cross_entropy(scores, truth)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        right = (scores.argmax(1) == truth).float().mean()
        self.log("train/clip_top1", right, prog_bar=True, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin with nothing, also after a validation that was cut short."""
        self._answers = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Name the actions of whole videos."""
        scores = self._view_scores(batch["clip"])
        truth = batch["action"]
        views = truth[:, None].expand(scores.shape[:2])
        losses = F.cross_entropy(scores.transpose(1, 2), views, reduction="none").mean(1)
        right = (scores.argmax(2) == views).float().mean(1)
        whole = scores.softmax(2).mean(1)
        columns = (truth, whole, right, losses)
        rows = zip(batch["key"], *(column.tolist() for column in columns), strict=True)
        self._answers += [_Answer(*row) for row in rows]

    def on_validation_epoch_end(self) -> None:
        """Bring the videos of all ranks together, write them down, and count."""
        answers = gathered(self._answers)
        self._answers = []
        answers.sort(key=lambda answer: answer.video)
        if self.trainer.is_global_zero and not self.trainer.sanity_checking:
            folder = Path(self.trainer.default_root_dir) / "results"
            folder.mkdir(parents=True, exist_ok=True)
            self._write(folder / "predictions.csv", answers)
        whole = torch.tensor([answer.probabilities for answer in answers])
        truth = torch.tensor([answer.truth for answer in answers])
        for name, value in top_scores("val/video_top", whole, truth).items():
            self.log(name, value, prog_bar=name == "val/video_top1")
        self.log("val/clip_top1", float(np.mean([answer.right for answer in answers])))
        self.log("val/loss", float(np.mean([answer.loss for answer in answers])))
        self.log("val/videos", float(len(answers)))
        # the latest weights are the best ones: the test part chooses none
        self.log("val/step", float(self.global_step))

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(decayed(self))
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw the middle view of up to eight videos, with what they show and the answer."""
        clips = batch["clip"][:8]
        whole = self._view_scores(clips).softmax(2).mean(1).cpu()
        frames = clips[:, clips.shape[1] // 2].permute(0, 1, 3, 4, 2).cpu().numpy()
        times = np.linspace(0, frames.shape[1] - 1, 5).round().astype(int)
        zoom = max(1, round(96 / frames.shape[2]))
        rows = []
        for clip, shares, truth in zip(frames, whole, batch["action"].tolist(), strict=False):
            strip = np.concatenate(list(clip[times]), 1).repeat(zoom, 0).repeat(zoom, 1)
            answer = int(shares.argmax())
            named = f"answer {self.classes[answer]} ({float(shares[answer]):.0%})"
            rows.append(captioned(strip, [f"true {self.classes[truth]}, {named}"]))
        wide = max(row.shape[1] for row in rows)
        return {"videos": np.concatenate([captioned(r, [], least_width=wide) for r in rows])}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate accuracy of the final weights, per video and per view."""
        rows = [["chance", f"{1 / len(self.classes):.1%}"]]
        for title, name in (
            ("videos, views averaged", "video_top1"),
            ("  among the first five", "video_top5"),
            ("single views", "clip_top1"),
        ):
            if f"val/{name}" in metrics:
                rows.append([title, f"{metrics[f'val/{name}']:.1%}"])
        return [f"{metrics['val/videos']:.0f} test videos", "right"], rows

    def _view_scores(self, clips: Tensor) -> Tensor:
        """(B, views, T, 3, H, W) → (B, views, classes)."""
        scores: Tensor = self(clips.flatten(0, 1))
        return scores.float().view(*clips.shape[:2], -1)

    def _write(self, path: Path, answers: Sequence[_Answer]) -> None:
        with path.open("w", newline="", encoding="utf-8", errors=register_handler()) as stream:
            writer = csv.writer(stream)
            writer.writerow(("video", "class", "answer", "probability", "views_right"))
            for one in answers:
                best = int(np.argmax(one.probabilities))
                share = f"{one.probabilities[best]:.4f}", f"{one.right:.4f}"
                writer.writerow((one.video, self.classes[one.truth], self.classes[best], *share))

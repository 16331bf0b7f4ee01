"""MoSI: Motion from Static Images (Huang et al., CVPR 2021).

One still image, seen through windows that slide at known speeds, becomes clips with known motion. A
network of clips must name the motion; a mask that keeps all but a small rectangle still makes it
look at what moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics.classification import MulticlassConfusionMatrix

from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.mosi.network import MOTION, Labels, MoSINetwork
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.ops.activation_map import located, motion_map
from selfsup_motion.ops.motion_classes import MotionClasses
from selfsup_motion.ops.motion_pictures import captioned, confusion_picture, overlay_heat
from selfsup_motion.ops.pseudo_motion import PseudoMotion


class MoSI(MoSINetwork, Method):
    """Still images → clips of known motion → which motion? The network, and how it is trained.

    Batches come from `MoSIView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        motion: PseudoMotion = MOTION,
        val_motion: PseudoMotion | None = None,
        labels: Labels = "joint",
        dropout: float = 0.5,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: of clips, see `models.encoder.Encoder`; what transfers.
            motion: makes the clips to train on.
            val_motion: makes those to validate on, of the same classes; None: `motion`.
            labels: "joint" asks for the class (as published); "x" or "y" for its speed along that
                axis; "separate" for both, by two heads whose losses are averaged.
            dropout: before the heads.
            optimizer: makes an optimiser of parameter groups; its weight decay spares
                normalisation and biases.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: an encoder that is not one of clips, or recipes whose classes differ.
        """
        super().__init__(encoder=encoder, motion=motion, labels=labels, dropout=dropout)
        val_motion = motion if val_motion is None else val_motion
        if val_motion.classes.table != motion.classes.table:
            raise UserError("val_motion must have the classes of motion: leave its keys alone.")
        self.val_motion = val_motion
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.confusion = MulticlassConfusionMatrix(len(self.answer_names), validate_args=False)
        self.means = Means("loss", "energy", "area", "hits")
        self._last_confusion: NDArray[np.int64] | None = None
        self._memory: Tensor | None = None

    @property
    def _axes(self) -> list[Literal["x", "y"]]:
        """Those along which something moves."""
        axes: tuple[Literal["x", "y"], ...] = ("x", "y")
        return [axis for axis in axes if len(set(self.classes.axis_labels(axis).tolist())) > 1]

    def clips(
        self, batch: dict[str, Any], motion: PseudoMotion, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make the clips of a batch, (B, C, 3, T, size, size) normalised, and their classes (B, C).

        `out` is an earlier result to be overwritten, see `PseudoMotion.render`.
        """
        clips = motion.render(
            batch["image"],
            batch["corners"],
            batch["box"],
            batch["frozen"],
            flip=batch.get("flip"),
            color=batch.get("color"),
            mean=self.get_buffer("mean"),
            std=self.get_buffer("std"),
            out=out,
        )
        return clips, batch["motion"]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Name the motion of every clip (section 3)."""
        used = self._memory
        if used is not None and used.shape[:2] != batch["motion"].shape:
            used = None
        clips, motion = self.clips(batch, self.motion, used)
        if clips.device.type == "cpu":
            self._memory = clips  # nobody looks at them after this step
        loss = self._loss(self(clips.flatten(0, 1)), motion.flatten())
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count which motion is taken for which, and how much of the evidence is where it moves."""
        clips, motion = (x.flatten(0, 1) for x in self.clips(batch, self.val_motion))
        features = self.encoder(clips)
        scores = self.head(features)
        predicted = self.predict(scores)
        self.confusion.update(predicted, self._truth(motion))
        self.means["loss"].update(self._loss(scores, motion), len(motion))
        box = batch["box"].flatten(0, 1)
        speeds = torch.tensor(self.classes.table, device=motion.device)[motion]
        shown = (speeds != 0).any(1) & (box[:, 2] < self.val_motion.size)
        maps = motion_map(features, self.evidence[predicted]).mean(1)
        found = located(maps[shown], box[shown], self.val_motion.size)
        for name, value in found.items():
            self.means[name].update(value)

    def on_validation_epoch_end(self) -> None:
        matrix = self.confusion.compute()
        self._last_confusion = matrix.cpu().numpy()
        self.log("val/accuracy", matrix.diagonal().sum() / matrix.sum(), prog_bar=True)
        for name, right, total in zip(
            self.answer_names, matrix.diagonal(), matrix.sum(1), strict=True
        ):
            if total > 0:
                self.log(f"val/accuracy_of_{name.replace(' ', '_')}", right / total)
        if self.labels in ("joint", "separate"):
            for axis in self._axes:
                along = axis_confusion(matrix, self.classes, axis)
                self.log(f"val/accuracy_{axis}", along.diagonal().sum() / along.sum())
                wrong = wrong_sign(along, self.classes.levels)
                if wrong.isfinite():
                    self.log(f"val/wrong_sign_{axis}", wrong)
        self.log("val/loss", self.means["loss"].compute())
        energy, area = (self.means[name].compute() for name in ("energy", "area"))
        if area > 0:  # some clip has a rectangle that moves, smaller than the frame
            self.log("val/cam_energy", energy)
            self.log("val/cam_area", area)
            self.log("val/cam_ratio", energy / area)
            self.log("val/cam_hits", self.means["hits"].compute())
        self.confusion.reset()
        self.means.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(decayed(self))
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw clips of the motions, each of another image if there are as many, with its motion
        and its evidence, and the confusion."""
        clips, motion = (x.flatten(0, 1) for x in self.clips(_in_turn(batch), self.val_motion))
        features = self.encoder(clips)
        predicted = self.predict(self.head(features))
        maps = motion_map(features, self.evidence[predicted])
        heat = F.interpolate(maps[:, None], clips.shape[2:], mode="trilinear")[:, 0]
        heat = heat / heat.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
        mean, std = (self.get_buffer(n).view(3, 1, 1, 1) for n in ("mean", "std"))
        frames = ((clips * std + mean) * 255).round().clamp(0, 255).byte()
        frames = frames.permute(0, 2, 3, 4, 1).cpu()  # (N, T, H, W, 3)
        truth, names = self._truth(motion), self.answer_names
        rows = []
        for i in range(len(clips)):
            times = np.linspace(0, clips.shape[2] - 1, 4).round().astype(int)
            strip = [frames[i, t].numpy() for t in times]
            middle = clips.shape[2] // 2
            strip.append(overlay_heat(frames[i, middle].numpy(), heat[i, middle].cpu().numpy()))
            row = np.concatenate(strip, 1)
            zoom = max(1, round(96 / row.shape[0]))
            text = f"true {names[truth[i]]}, answer {names[predicted[i]]}"
            rows.append(captioned(row.repeat(zoom, 0).repeat(zoom, 1), [text]))
        wide = max(row.shape[1] for row in rows)
        made = {"motion": np.concatenate([captioned(row, [], least_width=wide) for row in rows])}
        if self._last_confusion is not None:
            made["confusion"] = confusion_picture(self._last_confusion, names)
        return made

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate accuracy beside what chance and mirrored clips allow, and where it looks."""
        count = len(self.answer_names)
        rows = [["chance", f"{1 / count:.1%}"]]
        moving = sum(x != 0 for x, _ in self.classes.table)
        if moving and self.labels != "y":
            # half of the clips that move along x then show the other direction
            most = 1 - moving / 2 / len(self.classes)
            rows.append(["the most with the published flip", f"{most:.1%}"])
        if "untrained/accuracy" in metrics:
            rows.append(["untrained network", f"{metrics['untrained/accuracy']:.1%}"])
        rows.append(["MoSI network", f"{metrics['val/accuracy']:.1%}"])
        for axis in ("x", "y"):
            if f"val/accuracy_{axis}" in metrics:
                rows.append([f"  speed along {axis}", f"{metrics[f'val/accuracy_{axis}']:.1%}"])
        if "val/wrong_sign_x" in metrics:
            rows.append(["  wrong direction along x", f"{metrics['val/wrong_sign_x']:.1%}"])
        if "val/cam_ratio" in metrics:
            rows += [
                ["CAM energy in the moving rectangle", f"{metrics['val/cam_energy']:.1%}"],
                ["  times its share of the area", f"{metrics['val/cam_ratio']:.2f}"],
                ["CAM peak in the moving rectangle", f"{metrics['val/cam_hits']:.1%}"],
            ]
        return ["clips of held-out images", ""], rows

    def _loss(self, scores: Mapping[str, Tensor], motion: Tensor) -> Tensor:
        """Mean cross-entropy over clips and questions."""
        losses = [
            F.cross_entropy(scores[name], labels[motion]) for name, labels in self.questions.items()
        ]
        return torch.stack(losses).mean()

    def _truth(self, motion: Tensor) -> Tensor:
        """(N,) which of `answer_names` is right."""
        if self.labels in ("joint", "separate"):
            return motion
        return self.questions[self.labels][motion]


def _in_turn(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Up to twelve clips of a batch, one of each motion: the first of the first image, the second
    of the second, ..., as a batch of images with one clip each."""
    images, clips = batch["motion"].shape
    clip = torch.arange(min(clips, 12), device=batch["motion"].device)
    return {
        name: value[clip % images] if name == "image" else value[clip % images, clip][:, None]
        for name, value in batch.items()
        if isinstance(value, Tensor)
    }


def axis_confusion(matrix: Tensor, classes: MotionClasses, axis: Literal["x", "y"]) -> Tensor:
    """(C, C) confusion of classes → (2·levels+1,)² confusion of the speeds along an axis."""
    labels = classes.axis_labels(axis).to(matrix.device)
    member = F.one_hot(labels, 2 * classes.levels + 1).to(matrix.dtype)
    return member.T @ matrix @ member


def wrong_sign(along: Tensor, levels: int) -> Tensor:
    """Share of the clips that move along an axis whose motion is taken for the opposite one; NaN if
    none moves."""
    moving = along[:levels].sum() + along[levels + 1 :].sum()
    opposite = along[:levels, levels + 1 :].sum() + along[levels + 1 :, :levels].sum()
    return opposite / moving

"""Semantic segmentation and human parsing: an encoder, a head, a class for every pixel.

What is fine-tuned in VOC 2012, LIP and CIHP; with a frozen encoder and a linear head, the probe.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from selfsup_motion.data.reading.label_classes import VOID, LabelClasses
from selfsup_motion.data.reading.masks import write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.rank_weight import rank_weight
from selfsup_motion.methods.parts.schedules import every_step
from selfsup_motion.models.encoder import check_sees, input_statistics
from selfsup_motion.ops.confusion import (
    class_accuracy,
    class_iou,
    constant_iou,
    mean_iou,
    pixel_accuracy,
)
from selfsup_motion.ops.sliding_windows import cover
from selfsup_motion.tasks.features.frame_encoder import LayerOutput, whole_cells
from selfsup_motion.tasks.segmentation.figures import label_panel
from selfsup_motion.tasks.task import Needs
from selfsup_motion.weights.used import load_report

log = logging.getLogger(__name__)


class Segmentation(Method):
    """Image → class of every pixel.

    Batches come from `SegmentationView`. The last validation of a run writes what it predicts:
    `results/<key>.png`, indexed PNGs with VOC's palette, and `results/per_class.csv`.
    """

    needs: ClassVar[Needs] = {"labels": "classes", "encoder": "image"}

    def __init__(
        self,
        *,
        encoder: nn.Module,
        classes: LabelClasses,
        head: Callable[..., nn.Module],
        layer: str | None,
        stride: int | None,
        frozen: bool,
        freeze_norm: bool,
        head_lr_factor: float,
        window: int | None,
        window_step: int | None,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        """Assemble the task.

        Args:
            encoder: of images, with `input_mean` and `input_std`.
            classes: K of them.
            head: makes the module that scores cells, (B, C, h, w) -> (B, K, h, w), of
                (in_channels, num_classes).
            layer: of the encoder, what the head looks at (`layer4`); null: its output. What comes
                after it stays as it is.
            stride: pixels per cell that the protocol asks for; null takes any.
            frozen: the encoder is left as it is, in evaluation mode; only the head learns.
            freeze_norm: the encoder's batch normalisation keeps its statistics, for small batches.
            head_lr_factor: the head's learning rate in multiples of the encoder's.
            window: side of the square windows that an image is validated by, pixels; their scores
                are averaged. null: the whole image at once.
            window_step: from one window to the next, pixels; null: two thirds of a window.
            optimizer: makes an optimiser of parameter groups.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: an encoder of another stride, one of clips, or one without `input_mean`.
            ValueError: an encoder without such a layer.
        """
        super().__init__()
        check_sees(encoder, "image", "Segmentation")
        self.encoder = encoder.eval().to(memory_format=torch.channels_last)
        for name, value in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, value, persistent=False)
        self.features = LayerOutput(encoder, layer)
        self.stride = self.features.stride
        if stride not in (None, self.stride):
            raise UserError(
                f"method.stride={stride}: {layer or 'the output'} of this "
                f"{type(encoder).__name__} has stride {self.stride}; choose another encoder or "
                f"encoder.output_stride, or method.stride={self.stride} for another protocol."
            )
        if window is not None and not 0 < (window_step or window) <= window:
            raise UserError(
                f"method.window_step={window_step}: expected 1 to method.window={window} pixels."
            )
        self.window, self.window_step = window, window_step
        self.classes, self.frozen, self.freeze_norm = classes, frozen, freeze_norm
        self.head = head(in_channels=self.features.channels, num_classes=len(classes))
        self.head_lr_factor = head_lr_factor
        self.make_optimizer, self.make_schedule = optimizer, schedule
        # what nothing depends on has no gradient, which distributed training would wait for
        for parameter in encoder.parameters() if frozen else _unreached(self.features):
            parameter.requires_grad_(False)
        self.confusion = MulticlassConfusionMatrix(
            len(classes), ignore_index=VOID, validate_args=False
        )
        self.val_loss = MeanMetric()
        self.train()  # loaded encoders come in evaluation mode, which Lightning would leave them in

    def setup(self, stage: str) -> None:
        """Put in the run's log where the encoder's weights are from."""
        if self.trainer.is_global_zero:
            log.info("Encoder from %s.", load_report(self.encoder))

    def train(self, mode: bool = True) -> Segmentation:
        """Switch modes; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self.encoder.modules():
            if self.frozen or (self.freeze_norm and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> (B, K, H, W) float32 scores."""
        x = whole_cells(image.float(), self.stride)
        x = (x - self.get_buffer("mean")) / self.get_buffer("std")
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.features(x)
        scores: Tensor = self.head(features).float()
        scores = F.interpolate(scores, x.shape[-2:], mode="bilinear", align_corners=False)
        return scores[..., : image.shape[-2], : image.shape[-1]]

    def score_image(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, 3, h, w) uint8 -> (B, K, *size) scores, window by window if there are any."""
        scores: Tensor = self(image) if self.window is None else self._windowed(image, self.window)
        if scores.shape[-2:] != size:
            scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
        return scores

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        labels = batch["labels"].long()
        labelled = (labels != VOID).sum()
        # a crop may have no label at all, of which there is no mean
        total = F.cross_entropy(self(batch["image"]), labels, ignore_index=VOID, reduction="sum")
        loss: Tensor = total / labelled.clamp(min=1) * rank_weight(labelled)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        folder = Path(self.trainer.default_root_dir) / "results" if self._last else None
        for image, labels, keys in _of_one_size(batch):
            scores = self.score_image(image, (labels.shape[-2], labels.shape[-1]))
            predicted = scores.argmax(1)
            self.confusion.update(predicted, labels)
            if (labelled := (labels != VOID).sum()) > 0:
                self.val_loss.update(F.cross_entropy(scores, labels, ignore_index=VOID), labelled)
            if folder is not None:
                for key, ids in zip(keys, predicted.byte().cpu().numpy(), strict=True):
                    path = folder / f"{key}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_mask(path, ids)

    def on_validation_epoch_end(self) -> None:
        """Reduce over images and ranks: one matrix of all pixels."""
        matrix = self.confusion.compute()
        there = matrix.sum(1) > 0
        if not there.any() and not self.trainer.sanity_checking:
            raise UserError(
                "No pixel of the validation images has a label, so nothing can be scored."
            )
        self.log("val/loss", self.val_loss.compute())
        self.log("val/miou", mean_iou(matrix), prog_bar=True)
        self.log("val/pixel_accuracy", pixel_accuracy(matrix))
        self.log("val/mean_accuracy", class_accuracy(matrix).nanmean())
        self.log("val/miou_constant", constant_iou(matrix))
        for name, value, known in zip(self.classes.names, class_iou(matrix), there, strict=True):
            if known:
                self.log(f"val/iou_of_{name}", value)
        if self._last and self.trainer.is_global_zero:
            self._write_table(matrix.cpu())
        self.confusion.reset()
        self.val_loss.reset()

    def configure_optimizers(self) -> Any:
        """One optimiser; the head has its own rate."""
        learns = [p for p in self.encoder.parameters() if p.requires_grad]
        groups = [{"params": part} for part in (learns, list(self.head.parameters())) if part]
        optimizer = self.make_optimizer(groups)
        optimizer.param_groups[-1]["lr"] *= self.head_lr_factor
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to six images under their true and their predicted classes."""
        images, maps = [], []
        for image, labels, _ in _of_one_size({name: part[:6] for name, part in batch.items()}):
            size = (labels.shape[-2], labels.shape[-1])
            predicted = self.score_image(image, size).argmax(1)
            shown = F.interpolate(image.float(), size, mode="bilinear").round().byte()
            images += list(shown.permute(0, 2, 3, 1).cpu().numpy())
            pairs = zip(labels.byte().cpu().numpy(), predicted.byte().cpu().numpy(), strict=True)
            maps += [list(pair) for pair in pairs]
        return {"labels": label_panel(images, maps, ["truth", "prediction"], self.classes.names)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate IoU by class, of those that the validation images show, and the means."""

        def cell(name: str) -> str:
            return f"{metrics[f'val/{name}']:.1%}"

        shown = [name for name in self.classes.names if f"val/iou_of_{name}" in metrics]
        absent = len(self.classes) - len(shown)
        rows = [[name, cell(f"iou_of_{name}")] for name in shown]
        rows += [
            [f"mean IoU of these {len(shown)} classes" if absent else "mean IoU", cell("miou")],
            ["  of the most frequent class everywhere", cell("miou_constant")],
            ["pixel accuracy", cell("pixel_accuracy")],
            ["mean accuracy of the classes", cell("mean_accuracy")],
        ]
        if absent:
            rows.append(["classes that no validation image shows", str(absent)])
        return ["intersection over union", ""], rows

    @property
    def _last(self) -> bool:
        """Whether this validation is the run's last."""
        trainer = self.trainer
        done = trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step
        return not trainer.sanity_checking and (done or trainer.state.fn == "validate")

    def _windowed(self, image: Tensor, side: int) -> Tensor:
        """Mean of the scores of all windows over a pixel."""
        height, width = image.shape[-2:]
        step = self.window_step or -(-2 * side // 3)
        total = image.new_zeros((len(image), len(self.classes), height, width), dtype=torch.float32)
        count = total.new_zeros((height, width))
        for top in cover(height, side, step):
            for left in cover(width, side, step):
                rows, columns = slice(top, top + side), slice(left, left + side)
                total[..., rows, columns] += self(image[..., rows, columns])
                count[rows, columns] += 1
        return total / count

    def _write_table(self, matrix: Tensor) -> None:
        share = matrix.sum(1).double() / matrix.sum()
        columns = class_iou(matrix), class_accuracy(matrix), share
        path = Path(self.trainer.default_root_dir) / "results" / "per_class.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "iou", "accuracy", "share_of_pixels"])
            for name, *values in zip(self.classes.names, *columns, strict=True):
                numbers = map(float, values)
                writer.writerow([name, *("" if np.isnan(v) else f"{v:.6f}" for v in numbers)])


def _of_one_size(batch: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Images (B, 3, h, w), labels (B, H, W) int64 and keys of a batch: together if they have one
    size, else one by one."""
    images, labels, keys = batch["image"], batch["labels"], batch["key"]
    if len({(a.shape, b.shape) for a, b in zip(images, labels, strict=True)}) == 1:
        yield torch.stack(tuple(images)), torch.stack(tuple(labels)).long(), keys
        return
    for image, ids, key in zip(images, labels, keys, strict=True):
        yield image[None], ids[None].long(), [key]


def _unreached(features: LayerOutput) -> list[nn.Parameter]:
    """The encoder's parameters that the features do not depend on."""
    parameters = [p for p in features.encoder.parameters() if p.requires_grad]
    side = 2 * features.stride
    total = features(torch.zeros(1, 3, side, side)).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]

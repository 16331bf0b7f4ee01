"""Instance segmentation: an encoder under Mask R-CNN, as on COCO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.schedules import every_step
from selfsup_motion.models.encoder import input_statistics
from selfsup_motion.models.resnet import STAGES, ResNetEncoder
from selfsup_motion.tasks.instances.coco_scores import KINDS, SCORES, CocoScores
from selfsup_motion.tasks.instances.detections import Detections, full_size, results
from selfsup_motion.tasks.instances.figures import instance_panel
from selfsup_motion.tasks.task import Needs

_COLUMNS = ("AP", "AP50", "AP75", "small", "medium", "large")


class InstanceSegmentation(Method):
    """Image → objects: boxes, masks, categories.

    Batches come from `InstanceView`. Every validation writes what it detected:
    `results/bbox.json` and `results/segm.json`, in COCO's results format.
    """

    needs: ClassVar[Needs] = {"labels": "categories", "encoder": "image"}
    encoder: ResNetEncoder
    encoder_settings: ClassVar[Mapping[str, Any]] = {"output_stride": 32}
    fixed_shapes = False

    def __init__(
        self,
        *,
        encoder: nn.Module,
        categories: Mapping[int, str],
        detector: Callable[..., nn.Module],
        frozen_stages: int,
        freeze_norm: bool,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        """Assemble the task.

        Args:
            encoder: a ResNet of images; dilated stages get their usual strides back, so that they
                are at 1/4, 1/8, 1/16 and 1/32. A projection behind them is not used.
            categories: names of what is looked for, by the ids that the data have.
            detector: makes all of Mask R-CNN behind the encoder, of (stage_channels, num_classes).
            frozen_stages: the first so many stay as they are: 1 is the stem, 2 to 5 the four
                stages. Self-supervised encoders are compared with 0, all of them trained.
            freeze_norm: the encoder's batch normalisation stays as it is, for batches too small
                for statistics; for encoders that were trained, not for random ones.
            optimizer: makes an optimiser of parameter groups.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: another kind of encoder.
        """
        super().__init__()
        if not isinstance(encoder, ResNetEncoder):
            raise UserError(
                "Mask R-CNN needs an encoder with stages of strides 4, 8, 16 and 32: a ResNet "
                f"(encoder=resnet50, or a checkpoint of one), not {type(encoder).__name__}."
            )
        if not 0 <= frozen_stages <= 1 + len(STAGES):
            raise UserError(f"method.frozen_stages={frozen_stages}: expected 0 to 5.")
        encoder.set_output_stride(self.encoder_settings["output_stride"])
        self.encoder = encoder.to(memory_format=torch.channels_last)
        for name, value in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, value, persistent=False)
        self.category_ids = sorted(categories)
        self.names = [categories[number] for number in self.category_ids]
        self.register_buffer("known", torch.tensor(self.category_ids), persistent=False)
        self.detector = detector(
            stage_channels=encoder.stage_channels, num_classes=len(self.category_ids)
        )
        stages = [["conv1", "bn1"], *([name] for name in STAGES)]
        frozen = [name for stage in stages[:frozen_stages] for name in stage]
        if freeze_norm:
            frozen += [n for n, m in encoder.named_modules() if isinstance(m, nn.BatchNorm2d)]
        # by name: synchronised normalisation takes the place of what is there now
        self._frozen = frozen
        for name in (*frozen, "conv5"):
            encoder.get_submodule(name).requires_grad_(False)
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.scores = CocoScores({int(number): name for number, name in categories.items()})

    def train(self, mode: bool = True) -> InstanceSegmentation:
        """Switch modes; what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.encoder.get_submodule(name).eval()
        return self

    def forward(
        self, image: Tensor, size: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detect objects, or learn to.

        Args:
            image: (B, 3, H, W) uint8, RGB, padded to multiples of 32.
            size: (B, 2) int64 height and width of the images within it.
            targets: see `MaskRCNN`.

        Returns:
            See `MaskRCNN`.
        """
        x = (image.float() - self.get_buffer("mean")) / self.get_buffer("std")
        sizes = [(int(height), int(width)) for height, width in size.tolist()]
        for item, (height, width) in zip(x, sizes, strict=True):  # the padding is a mean grey
            item[:, height:] = 0
            item[:, :, width:] = 0
        stages = self.encoder.forward_stages(x.contiguous(memory_format=torch.channels_last))
        found: tuple[list[dict[str, Tensor]], dict[str, Tensor]]
        found = self.detector(x, sizes, stages, targets)
        return found

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The sum of the five losses: proposals (objectness, box), boxes (class, box), masks."""
        _, losses = self(batch["image"], batch["size"], self._targets(batch))
        loss = torch.stack(list(losses.values())).sum()
        count = len(batch["image"])
        self.log("train/loss", loss, prog_bar=True, sync_dist=True, batch_size=count)
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), sync_dist=True, batch_size=count)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin with nothing, also after a validation that was cut short."""
        self.scores.reset()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collect what is detected, in pixels of the images as they were before resizing."""
        for truth, found in zip(batch["truth"], self.detect(batch), strict=True):
            self.scores.add(truth, results(found, truth["id"], self.category_ids))

    def on_validation_epoch_end(self) -> None:
        """Score the images of all ranks, each once, on the first rank."""
        strategy = self.trainer.strategy
        self.scores.gather()
        metrics: dict[str, float] | None = None
        if strategy.is_global_zero:
            metrics = self.scores.compute()
            if not self.trainer.sanity_checking:
                self.scores.write(Path(self.trainer.default_root_dir) / "results")
        metrics = strategy.broadcast(metrics)
        self.scores.reset()
        if not metrics and not self.trainer.sanity_checking:
            raise UserError("The validation images have no objects, so nothing can be scored.")
        for name, value in (metrics or {}).items():
            self.log(f"val/{name}", value, prog_bar=name in ("box_ap", "mask_ap"))

    def configure_optimizers(self) -> Any:
        """One optimiser for everything; no decay of biases and of normalisation."""
        optimizer = self.make_optimizer(decayed(self))
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def detect(self, batch: Mapping[str, Any]) -> list[Detections]:
        """Objects of the images of a validation batch, at their size before resizing."""
        found, _ = self(batch["image"], batch["size"])
        return [
            full_size(detections, (int(size[0]), int(size[1])), (truth["height"], truth["width"]))
            for detections, size, truth in zip(found, batch["size"], batch["truth"], strict=True)
        ]

    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to four images with their true and their detected objects."""
        batch = {name: part[:4] for name, part in batch.items()}
        images = [
            image[:, :height, :width].permute(1, 2, 0).cpu().numpy()
            for image, (height, width) in zip(batch["image"], batch["size"].tolist(), strict=True)
        ]
        names = dict(zip(self.category_ids, self.names, strict=True))
        return {"objects": instance_panel(images, batch["truth"], self.detect(batch), names)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate the average precisions."""

        def cell(name: str) -> str:
            return f"{metrics[name]:.1%}" if name in metrics else "–"

        rows = [
            [f"{name}es" if name == "box" else f"{name}s"]
            + [cell(f"val/{name}_{score}") for score in SCORES]
            for name in KINDS.values()
        ]
        return ["average precision", *_COLUMNS], rows

    def _targets(self, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """The objects of each image, categories counted from 1."""
        known, given = self.get_buffer("known"), batch["categories"]
        places = torch.searchsorted(known, given).clamp(max=len(known) - 1)
        if (unknown := given[known[places] != given]).numel():
            raise UserError(
                f"The data have objects of category {int(unknown[0])}, which is not among the "
                f"{len(known)} of method.categories: training and validation data must have the "
                "same ones."
            )
        parts = {"boxes": batch["boxes"], "labels": places + 1, "masks": batch["masks"]}
        return [
            {name: part[batch["item"] == item] for name, part in parts.items()}
            for item in range(len(batch["image"]))
        ]

"""Dense unsupervised learning for video segmentation (Araslanov et al., NeurIPS 2021).

Cells of all frames of a clip are assigned to anchors on a grid of its first frame. The assignments
come from a mirrored and zoomed view, and the plain view must repeat them: what a cell belongs to
does not depend on where it is seen. Anchors stand for regions rather than for single positions, so
features keep their borders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from selfsup_motion.errors import UserError
from selfsup_motion.methods.dense_ulearn.figures import assignment_panel
from selfsup_motion.methods.dense_ulearn.objective import Losses, dense_ulearn_losses, zoomed
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.following import FollowedObjects
from selfsup_motion.methods.parts.param_groups import decayed, fast_biases
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.precision import own_precision


class DenseUlearn(Method):
    """Clips without labels → an encoder whose features match across frames.

    Batches come from `DenseUlearnView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        head_channels: int | None = None,
        anchors: int = 8,
        cross_cells: int = 4,
        temperature: float = 0.05,
        cross_weight: float = 0.1,
        val_radius: int | None = 6,
        val_temperature: float = 0.02,
        published_rates: bool = False,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: (B, 3, H, W) → (B, C, H / stride, W / stride); what transfers. See
                `models.encoder.Encoder`.
            head_channels: channels of a head of two 1 x 1 convolutions that is trained behind the
                encoder and does not transfer (published: 128); null: none.
            anchors: along each side of a clip's first frame (published: 8).
            cross_cells: along each side, compared one to one between the views (published: 4).
            temperature: of the cosine similarities.
            cross_weight: of the loss that compares one to one.
            val_radius: of the window in which objects of validation clips are followed, in cells;
                null: everywhere.
            val_temperature: of the cosine similarities when following them.
            published_rates: biases learn at twice the rate and without decay, all else decays;
                false: weights of convolutions decay.
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range.
        """
        super().__init__()
        check_sees(encoder, "image", "DenseUlearn")
        for name, value in (("anchors", anchors), ("cross_cells", cross_cells)):
            if value < 1:
                raise UserError(f"method.{name} must be at least 1, got {value}.")
        if temperature <= 0 or val_temperature <= 0:
            raise UserError("method.temperature and method.val_temperature must be positive.")
        if cross_weight < 0:
            raise UserError(f"method.cross_weight must be at least 0, got {cross_weight}.")
        stride = declared(encoder, "stride")
        self.encoder, self.stride = encoder, int(stride)
        self.head: nn.Module = nn.Identity()
        if head_channels is not None:
            self.head = _head(int(declared(encoder, "out_channels")), head_channels)
        self.anchors, self.cross_cells = anchors, cross_cells
        self.temperature, self.cross_weight = temperature, cross_weight
        self.published_rates = published_rates
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.to(memory_format=torch.channels_last)
        for name, levels in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, levels / 255, persistent=False)
        self.objects = FollowedObjects(self.stride, val_radius, val_temperature)
        self.val_loss = MeanMetric()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] → unit features (B, C, H / stride, W / stride)."""
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        with own_precision(self):
            features: Tensor = self.encoder(x.contiguous(memory_format=torch.channels_last))
            return F.normalize(self.head(features), dim=1)

    def losses(self, batch: dict[str, Any], *, alone: bool = False) -> Losses:
        """Both losses of a batch (section 3); `alone`: see `dense_ulearn_losses`.

        The zoomed view's first frame learns from the comparison one to one; its later frames are
        targets, and are encoded without gradients, as published with batch statistics of their own.

        Raises:
            UserError: crops in which the anchors do not find room.
        """
        frames = batch["frames"]
        batch_size, length = frames.shape[:2]
        cells = min(frames.shape[-2:]) // self.stride
        if cells < max(self.anchors, self.cross_cells):
            raise UserError(
                f"view.crop_size={min(frames.shape[-2:])} gives {cells} cells of {self.stride} "
                f"pixels, too few for method.anchors={self.anchors} along a side: enlarge the crop."
            )
        images: Tensor = frames.float() / 255
        # the window lies inside the frame, so how `zoomed` pads does not matter
        closer = zoomed(images, batch["zoom"])
        learned = torch.cat([images, closer[:, :1]], 1)
        features = self(learned.flatten(0, 1)).unflatten(0, (batch_size, length + 1))
        with torch.no_grad():
            later = self(closer[:, 1:].flatten(0, 1)).unflatten(0, (batch_size, length - 1))
        return dense_ulearn_losses(
            features[:, :-1],
            features[:, -1],
            later,
            batch["zoom"],
            batch["anchor"],
            batch["cross"],
            anchors=self.anchors,
            cross_cells=self.cross_cells,
            temperature=self.temperature,
            alone=alone,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Find the anchor that the zoomed view has found."""
        losses = self.losses(batch)
        loss = losses.temporal + self.cross_weight * losses.cross_view
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        parts = {"train/temporal": losses.temporal, "train/cross_view": losses.cross_view}
        self.log_dict(parts, sync_dist=True)
        return loss

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.objects.restart()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure the loss and, on labelled clips, how well objects are followed."""
        losses = self.losses(batch, alone=True)
        loss = losses.temporal + self.cross_weight * losses.cross_view
        self.val_loss.update(loss, len(batch["frames"]))
        if "masks" in batch:
            images = batch["frames"].float() / 255
            features = self(images.flatten(0, 1)).unflatten(0, images.shape[:2])
            self.objects.update(images, features, batch["masks"])

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks."""
        self.log("val/loss", self.val_loss.compute(), prog_bar=True)
        self.val_loss.reset()
        self.objects.log(self)

    def configure_optimizers(self) -> Any:
        if self.published_rates:
            optimizer = fast_biases(self.make_optimizer, self)
        else:
            optimizer = self.make_optimizer(decayed(self))
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to four clips: where each cell of the last frame was in the first; objects."""
        frames = batch["frames"][:4]
        features = self((frames.float() / 255).flatten(0, 1)).unflatten(0, frames.shape[:2])
        masks, followed = batch.get("masks"), None
        if masks is not None:
            masks = masks[:4]
            followed = self.objects.follow(features, masks[:, 0])
        return {"clips": assignment_panel(frames, features, self.anchors, masks, followed)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate J beside the baselines on labelled clips, else the loss."""
        if "val/j" not in metrics:
            return super().report(metrics)
        return ["objects followed by", "J"], self.objects.table(metrics, "DenseUlearn network")


def _head(in_channels: int, channels: int) -> nn.Sequential:
    """The published projection: as wide as the features inside."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 1),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, channels, 1),
    )

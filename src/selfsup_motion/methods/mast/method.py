"""MAST: A Memory-Augmented Self-Supervised Tracker (Lai, Lu & Xie, CVPR 2020).

The last frame of a clip loses one colour channel, in Lab, and copies it from where the frames
before look alike. In Lab, unlike in RGB, the channels that are left tell little about the lost one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.errors import UserError
from selfsup_motion.methods.corrflow.figures import clip_panel
from selfsup_motion.methods.mast.copying import (
    CHANNELS,
    color_loss,
    copied,
    draw_channel,
    sharpness,
    without,
)
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.following import FollowedObjects
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.models.encoder import check_sees, declared
from selfsup_motion.models.precision import own_precision
from selfsup_motion.ops.attention import Border
from selfsup_motion.ops.color import unit_lab
from selfsup_motion.ops.label_cells import cells_to_pixels

_SHARP = 0.95
_LOOKS = 5
_NO_BETTER = 0.95

log = logging.getLogger(__name__)


class MAST(Method):
    """Clips without labels → an encoder whose features match across frames.

    Batches come from `MASTView`. Of a clip of T frames the last is predicted from the T - 1 before
    it, with one softmax over all of them (T = 2 as published).
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        radius: int | None = 6,
        score_scale: float | None = None,
        border: Border = "exclude",
        seed: int = 0,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: sees Lab (`encoder=mast_resnet18`, `mast_small`), what transfers.
            radius: of the window that is copied from, in cells (published: 6); null: everywhere.
            score_scale: what dot products are multiplied by before the softmax. null: one over the
                root of their number of channels, 1/8 for 64; published: 1, with which training
                often ends in a softmax that looks at a single pixel.
            border: "exclude" leaves positions outside the frame out; "zero" (published) lets them
                take part with score 0 and grey.
            seed: of the draws that are made once per batch.
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range, an encoder that does not see Lab.
        """
        super().__init__()
        if radius is not None and radius < 1:
            raise UserError(f"method.radius must be null or at least 1, got {radius}.")
        if score_scale is not None and score_scale <= 0:
            raise UserError(f"method.score_scale must be null or positive, got {score_scale}.")
        if border not in ("exclude", "zero"):
            raise UserError(f"method.border must be exclude or zero, got {border!r}.")
        if border == "zero" and radius is None:
            raise UserError(
                "method.border=zero is about the edge of a window: set method.radius, or leave "
                "method.border=exclude."
            )
        check_sees(encoder, "image", "MAST")
        if not getattr(encoder, "lab", False):
            raise UserError(
                "MAST needs an encoder that sees Lab (encoder=mast_resnet18, encoder=mast_small), "
                f"this {type(encoder).__name__} does not."
            )
        self.encoder, self.radius, self.border = encoder, radius, border
        self.stride = int(declared(encoder, "stride"))
        self.score_scale = score_scale or declared(encoder, "out_channels") ** -0.5
        self.seed = seed
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.to(memory_format=torch.channels_last)
        self.objects = FollowedObjects(self.stride, radius, 1 / self.score_scale)
        self.val_loss = Means("network", "same_place", "grey")
        self.val_sharpness = Means("softmax_max", "score_std")
        self._baselines: dict[str, float] = {}
        self._sharp_looks = 0

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] → features (B, C, H / stride, W / stride)."""
        return self._embed(unit_lab(images))

    def encode(self, lab: Tensor) -> Tensor:
        """(B, T, 3, H, W) of `unit_lab` → (B, T, C, h, w).

        Frame by frame, because batch normalisation is over one moment (as published).

        Raises:
            UserError: frames that are no whole number of cells.
        """
        size = lab.shape[-2:]
        if size[0] % self.stride or size[1] % self.stride:
            raise UserError(
                f"view.crop_size={list(size)}: expected multiples of {self.stride}, the stride of "
                f"{type(self.encoder).__name__}."
            )
        return torch.stack([self._embed(lab[:, t]) for t in range(lab.shape[1])], 1)

    def objective(self, lab: Tensor, channel: int) -> tuple[Tensor, Tensor]:
        """Predict a channel of the last frame (sections 3.1 and 3.2).

        Args:
            lab: (B, T, 3, H, W) of `unit_lab`.
            channel: which is dropped, 1 or 2.

        Returns:
            The loss; and the features (B, T, C, h, w).
        """
        features = self.encode(without(lab, channel))
        truth = lab[:, :, channel, None]
        cells = copied(features, truth[:, :-1], self.radius, self.stride, **self._softmax)
        return color_loss(cells, truth[:, -1], self.stride), features

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Drop a channel and copy it."""
        lab = unit_lab(batch["frames"].float() / 255)
        channel = draw_channel(np.random.default_rng([self.seed, self.global_step]))
        loss, features = self.objective(lab, channel)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        if (self.global_step + 1) % getattr(self.trainer, "log_every_n_steps", 50) == 0:
            self._look(loss.detach(), features.detach(), lab[:, -1, channel, None])
        return loss

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.objects.restart()
        self._baselines = {}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Copy a and b between neighbouring frames, each while it is dropped; follow objects."""
        images = batch["frames"].float() / 255
        lab = unit_lab(images)
        for channel in CHANNELS:
            features = self.encode(without(lab, channel))
            truth = lab[:, :, channel, None]
            cells = self._from_before(features, truth).flatten(0, 1)
            later = truth[:, 1:].flatten(0, 1)
            loss = color_loss(cells, later, self.stride)
            self.val_loss["network"].update(loss, len(later))
            if not self._baselines:
                before = truth[:, :-1, ..., :: self.stride, :: self.stride].flatten(0, 1)
                for name, other in (("same_place", before), ("grey", torch.zeros_like(before))):
                    loss = color_loss(other, later, self.stride)
                    self.val_loss[name].update(loss, len(later))
        for clip in torch.split(features[:, :2], 1):  # so that it does not depend on batches
            found = sharpness(clip, self.radius, **self._softmax)
            self.val_sharpness["softmax_max"].update(found.highest)
            self.val_sharpness["score_std"].update(found.spread)
        if "masks" in batch:
            self.objects.update(images, self.encode(lab), batch["masks"])

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks. What does not learn is computed once."""
        if not self._baselines:
            self._baselines = {
                f"val/loss_{name}": float(self.val_loss[name].compute())
                for name in ("same_place", "grey")
            }
        self.log("val/loss", self.val_loss["network"].compute(), prog_bar=True)
        self.log_dict(self._baselines)
        for name in self.val_sharpness:
            self.log(f"val/{name}", self.val_sharpness[name].compute())
        self.objects.log(self)
        self.val_loss.reset()
        self.val_sharpness.reset()
        if is_partial(self.trainer):
            self._baselines = {}

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to four clips: two frames, a and b copied between them, followed masks."""
        batch = {name: values[:4] for name, values in batch.items()}
        frames = batch["frames"]
        lab = unit_lab(frames.float() / 255)
        channels = []
        for channel in CHANNELS:
            features = self.encode(without(lab[:, -2:], channel))
            cells = self._from_before(features, lab[:, -2:, channel, None])[:, -1]
            channels.append(127 * cells_to_pixels(cells, self.stride))
        masks, followed = batch.get("masks"), None
        if masks is not None:
            followed = self.objects.follow(self.encode(lab), masks[:, 0])
        return {"clips": clip_panel(frames, torch.cat(channels, 1), masks, followed)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate, on labelled clips, J beside those of the baselines; else the losses."""
        if "val/j" in metrics:
            return ["objects", "J"], FollowedObjects.table(metrics, "MAST network")
        rows = {
            "grey": "val/loss_grey", "same place": "val/loss_same_place",
            "untrained network": "untrained/loss", "MAST network": "val/loss",
        }  # fmt: skip
        return ["a and b, copied from the frame before", "loss"], [
            [title, f"{metrics[key]:.3f}"] for title, key in rows.items() if key in metrics
        ]

    @property
    def _softmax(self) -> dict[str, Any]:
        return {"scale": self.score_scale, "border": self.border}

    def _embed(self, lab: Tensor) -> Tensor:
        with own_precision(self):
            features: Tensor = self.encoder.embed(  # type: ignore[operator]
                lab.contiguous(memory_format=torch.channels_last)
            )
        return features

    def _from_before(self, features: Tensor, values: Tensor) -> Tensor:
        """Frames 1 … T - 1, each copied from the one before: (B, T - 1, 1, h, w)."""
        pairs = [
            copied(
                features[:, t - 1 : t + 1], values[:, t - 1 : t], self.radius, self.stride,
                **self._softmax,
            )
            for t in range(1, features.shape[1])
        ]  # fmt: skip
        return torch.stack(pairs, 1)

    def _look(self, loss: Tensor, features: Tensor, truth: Tensor) -> None:
        """Log how sharp the copies are, and warn of the collapse that MAST is known for: each pixel
        copies from a single one, and the colours are no better than grey."""
        found = sharpness(features[:1], self.radius, **self._softmax)
        self.log_dict(
            {"train/softmax_max": found.highest, "train/score_std": found.spread}, sync_dist=True
        )
        grey = color_loss(torch.zeros_like(truth[..., :: self.stride, :: self.stride]), truth,
                          self.stride)  # fmt: skip
        stuck = found.highest > _SHARP and bool(loss > _NO_BETTER * grey)
        self._sharp_looks = self._sharp_looks + 1 if stuck else 0
        if self._sharp_looks == _LOOKS:
            log.warning(
                "Each pixel copies from a single one (mean softmax maximum %.2f), and the loss "
                "%.2f is no better than that of grey, %.2f: training has collapsed. Begin again "
                "with a smaller method.optimizer.lr, more method.schedule.warmup_steps or a "
                "smaller method.score_scale (here %g).",
                found.highest, float(loss), float(grey), self.score_scale,
            )  # fmt: skip

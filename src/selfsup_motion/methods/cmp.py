"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019).

From one image and the motion of a few of its points, predict the motion of all its pixels. To do
so, the image encoder must know what belongs together and how it can move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from selfsup_motion.errors import UserError
from selfsup_motion.models.resnet import published_init_
from selfsup_motion.ops.dominant_motion import dominant_motion
from selfsup_motion.ops.draw import draw_arrows, panel
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.flow_color import flow_to_color
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation

MOVING = 1.0
"""Pixels: a pixel moves if its motion differs by more than this from the dominant motion."""

BASELINES = {
    "zero": "zero flow",
    "nearest": "nearest guidance vector",
    "edge_aware": "edge-aware interpolation",
}
"""What the network is measured against: the same pixels and guidance, no learning."""

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class ImageEncoder(Protocol):
    """What CMP needs of an encoder."""

    feature_channels: Mapping[str, int]

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised image → features "stem", "layer1" and "output"."""
        ...


class CMP(pl.LightningModule):
    """Image and sparse motion → dense motion.

    Batches come from `CMPView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        propagation: Callable[..., nn.Module],
        num_bins: int = 99,
        max_flow: float = 50.0,
        spacing: Literal["linear", "quadratic"] = "linear",
        epe_weight: float = 0.0,
        published_init: bool = False,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        """Assemble the method.

        Args:
            encoder: image encoder with `forward_features` and `feature_channels`; what transfers.
            propagation: makes the module that spreads the guidance over the image, given
                `feature_channels` and `bins`.
            num_bins: classes of motion per axis; odd.
            max_flow: the classes cover [-max_flow, max_flow] pixels.
            spacing: of the classes, "linear" (published) or "quadratic".
            epe_weight: weight of the decoded flow's end-point error beside the classification
                loss (published: 0).
            published_init: initialise all weights as the published code does, instead of as each
                module does by itself.
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).
        """
        super().__init__()
        self.save_hyperparameters("num_bins", "max_flow", "spacing", "epe_weight")
        self.encoder = encoder
        feature_channels = getattr(encoder, "feature_channels", None)
        if feature_channels is None:
            raise UserError(
                f"CMP needs an encoder with features at strides 2 and 4 (encoder=resnet…), "
                f"{type(encoder).__name__} does not offer them"
            )
        self.bins = FlowBins(num_bins, max_flow, spacing)
        self.propagation = propagation(feature_channels=feature_channels, bins=self.bins)
        self.epe_weight = epe_weight
        self.make_optimizer, self.make_schedule = optimizer, schedule
        if published_init:
            published_init_(self)
        self.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

        names = ["network", *BASELINES]
        self.epe = nn.ModuleDict({name: MeanMetric() for name in names})
        self.epe_moving = nn.ModuleDict({name: MeanMetric() for name in names})
        self.val_loss = MeanMetric()
        self._baseline_values: dict[str, float] = {}
        self._guided = False

    def forward(self, image: Tensor, points: Tensor, vectors: Tensor, point_mask: Tensor) -> Tensor:
        """Score the motion bins of every pixel.

        Args:
            image: (B, 3, H, W) uint8, or float in [0, 255]; RGB.
            points: (B, K, 2) float, x, y in pixels.
            vectors: (B, K, 2) float, displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.

        Returns:
            (B, 2·num_bins, h, w) scores at the propagation module's resolution.
        """
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        normalised = (image.to(mean.dtype) - mean) / std
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        features = self.encoder.forward_features(normalised)  # type: ignore[operator]
        height, width = image.shape[-2:]
        scores: Tensor = self.propagation(features, points, vectors, point_mask, (height, width))
        return scores

    def decode(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores → (B, 2, H, W) flow in pixels: expectation over the bins, then enlarged."""
        flow = self.bins.decode(scores)
        return F.interpolate(flow, size, mode="bilinear", align_corners=True)

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self._baseline_values = {}
        self._guided = False

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Classify the motion of every valid pixel (section 3.3)."""
        scores = self._score(batch)
        flow, valid = batch["flow"], batch["valid"]
        loss = self.bins.loss(scores, flow, valid)
        if self.epe_weight > 0:
            error = self.decode(scores, flow.shape[-2:]) - flow
            # rounded at zero, where the norm has no gradient
            epe = (error.square().sum(1) + 1e-4).sqrt()
            loss = loss + self.epe_weight * (epe * valid).sum() / valid.sum().clamp(min=1)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure the end-point error of the network and of doing without one."""
        scores = self._score(batch)
        flow, valid = batch["flow"], batch["valid"]
        moving = valid & ((flow - dominant_motion(flow, valid)).norm(dim=1) > MOVING)
        self.val_loss.update(self.bins.loss(scores, flow, valid), valid.sum())
        self._guided |= bool(batch["point_mask"].any())
        predictions = {"network": self.decode(scores, flow.shape[-2:])}
        if not self._baseline_values:
            predictions |= self._baselines(batch)
        for name, prediction in predictions.items():
            error = (prediction - flow).norm(dim=1)
            for metric, pixels in ((self.epe, valid), (self.epe_moving, moving)):
                metric[name].update(error, pixels.float())  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Reduce over pixels and ranks. Baselines do not learn: they are computed once."""
        if not self._guided:
            raise UserError(
                "no guidance point on any validation clip: add 'grid' to view.strategies, or "
                "lower view.nms_size"
            )
        if not self._baseline_values:
            for name in BASELINES:
                for suffix, metrics in (("", self.epe), ("_moving", self.epe_moving)):
                    value = metrics[name].compute()  # type: ignore[operator]
                    self._baseline_values[f"val/epe{suffix}_{name}"] = float(value)
        self.log("val/loss", self.val_loss.compute())
        self.log("val/epe", self.epe["network"].compute(), prog_bar=True)  # type: ignore[operator]
        self.log("val/epe_moving", self.epe_moving["network"].compute())  # type: ignore[operator]
        self.log_dict(self._baseline_values)
        for metric in (self.val_loss, *self.epe.values(), *self.epe_moving.values()):
            metric.reset()  # type: ignore[operator]
        if self.trainer.sanity_checking:
            self._baseline_values = {}

    def configure_optimizers(self) -> Any:
        """One optimiser for everything, its rate set anew at every step."""
        optimizer = self.make_optimizer(self.parameters())
        total_steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.make_schedule(optimizer, total_steps=total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to six items: guidance, prediction, truth, and edge-aware interpolation."""
        batch = {k: v[:6] for k, v in batch.items()}
        size = batch["flow"].shape[-2:]
        predicted = self.decode(self._score(batch), size).cpu()
        interpolated = self._baselines(batch)["edge_aware"].cpu()
        truth, valid = batch["flow"].cpu(), batch["valid"].cpu()
        magnify = max(1, round(224 / min(size)))
        rows = []
        for i in range(len(truth)):
            used = batch["point_mask"][i].cpu().numpy()
            arrows = draw_arrows(
                batch["image"][i].permute(1, 2, 0).cpu().numpy(),
                batch["points"][i].cpu().numpy()[used],
                batch["vectors"][i].cpu().numpy()[used],
                magnify=magnify,
            )
            # one colour scale a row, or the columns could not be compared
            scale = float(truth[i].norm(dim=0).max().clamp(min=2.0))
            tiles = [predicted[i], truth[i] * valid[i], interpolated[i]]
            coloured = [flow_to_color(t, scale).permute(1, 2, 0).numpy() for t in tiles]
            enlarged = [t.repeat(magnify, 0).repeat(magnify, 1) for t in coloured]
            rows.append([arrows, *enlarged])
        titles = ["image and guidance", "predicted motion", "true motion", "edge-aware interp."]
        return {"motion": panel(rows, titles)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate the end-point errors beside those of the baselines."""

        def row(name: str, suffix: str) -> list[str]:
            cells = [metrics[f"val/epe{part}{suffix}"] for part in ("", "_moving")]
            return [name, *(f"{value:.3f}" for value in cells)]

        columns = ["end-point error in px", "all pixels", "moving pixels"]
        rows = [row(title, f"_{name}") for name, title in BASELINES.items()]
        gains = []
        for part in ("", "_moving"):
            best = min(metrics[f"val/epe{part}_{name}"] for name in BASELINES)
            gain = metrics[f"val/epe{part}"] / best - 1 if best > 0 else float("nan")
            gains.append(f"{gain:+.0%}")
        return columns, [*rows, row("CMP network", ""), ["against the best baseline", *gains]]

    def _score(self, batch: dict[str, Any]) -> Tensor:
        scores: Tensor = self(
            batch["image"], batch["points"], batch["vectors"], batch["point_mask"]
        )
        return scores

    def _baselines(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        size = batch["flow"].shape[-2:]
        guidance = batch["points"], batch["vectors"], batch["point_mask"]
        return {
            "zero": torch.zeros_like(batch["flow"]),
            "nearest": nearest_interpolation(*guidance, size),
            "edge_aware": edge_aware_interpolation(batch["image"], *guidance),
        }

"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019).

From one image and the motion of a few of its points, predict the motion of all its pixels. To do
so, the image encoder must know what belongs together and how it can move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.few_points import FewPointCurves
from selfsup_motion.methods.cmp.figures import flow_name, motion_panel
from selfsup_motion.methods.cmp.network import FLOW_BINS, CMPNetwork
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.rank_weight import rank_weight
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.ops.dominant_motion import dominant_motion
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
from selfsup_motion.ops.motion_code import MotionCode

MOVING = 1.0
"""Pixels: a pixel moves if its motion differs by more than this from the dominant motion."""

BASELINES = {
    "zero": "zero flow",
    "nearest": "nearest guidance vector",
    "edge_aware": "edge-aware interpolation",
}
"""What the network is measured against: the same pixels and guidance, no learning."""


class CMP(CMPNetwork, Method):
    """Image and sparse motion → dense motion: the network, and how it is trained.

    Batches come from `CMPView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        propagation: Callable[..., nn.Module] | None = None,
        motion_code: MotionCode = FLOW_BINS,
        epe_weight: float = 0.0,
        published_init: bool = False,
        use_guidance: bool = True,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: see `models.encoder.FeatureEncoder`; what transfers.
            propagation: makes the module that spreads the guidance over the image, given
                `feature_channels` and `motion_code`. None: the published one, `SparsePropagation`,
                at the encoder's stride.
            motion_code: what is predicted of the flow, with its loss (published: `FlowBins`).
            epe_weight: weight of the decoded flow's end-point error beside that loss (published:
                0).
            published_init: initialise all weights as the published code does, also those that the
                encoder brings, instead of as each module does by itself.
            use_guidance: False drops all guidance, so that motion is guessed from the still image
                (the paper's baseline without conditions).
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).
        """
        super().__init__(
            encoder=encoder,
            propagation=propagation,
            motion_code=motion_code,
            published_init=published_init,
            use_guidance=use_guidance,
        )
        self.epe_weight = epe_weight
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.epe = Means("network", *BASELINES)
        self.epe_moving = Means("network", *BASELINES)
        self.val_loss = MeanMetric()
        self.few_points = FewPointCurves()
        self._baseline_values: dict[str, float] = {}
        self._guided = False
        self._origins: set[str] = set()

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.few_points.forget()
        self._baseline_values = {}
        self._guided = False
        self._origins = set()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Classify the motion of every valid pixel (section 3.3)."""
        scores = self.score_all(*_inputs(batch))
        flow, valid = batch["flow"], batch["valid"]
        loss = torch.stack([self.motion_code.loss(s, flow, valid) for s in scores]).mean()
        if self.epe_weight > 0:
            error = self.decode(scores[0], flow.shape[-2:]) - flow
            # rounded at zero, where the norm has no gradient
            epe = (error.square().sum(1) + 1e-4).sqrt()
            loss = loss + self.epe_weight * (epe * valid).sum() / valid.sum().clamp(min=1)
        loss = loss * rank_weight(valid.sum())
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure the end-point error of the network and of doing without one."""
        scores = self(*_inputs(batch))
        flow, valid = batch["flow"], batch["valid"]
        moving = valid & ((flow - dominant_motion(flow, valid)).norm(dim=1) > MOVING)
        self.val_loss.update(self.motion_code.loss(scores, flow, valid), valid.sum())
        self._guided |= bool(batch["point_mask"].any())
        self._origins |= set(batch.get("flow_origin", ()))
        predictions = {"network": self.decode(scores, flow.shape[-2:])}
        if not self._baseline_values:
            predictions |= self._baselines(batch)
        for name, prediction in predictions.items():
            error = (prediction - flow).norm(dim=1)
            for metric, pixels in ((self.epe, valid), (self.epe_moving, moving)):
                metric[name].update(error, pixels.float())
        self.few_points.update(batch, self._predict)

    def on_validation_epoch_end(self) -> None:
        """Reduce over pixels and ranks. Baselines do not learn: they are computed once."""
        if not self.trainer.strategy.reduce_boolean_decision(self._guided, all=False):
            raise UserError(
                "no guidance point on any validation clip: add 'grid' to view.strategies, or "
                "lower view.nms_size"
            )
        if not self._baseline_values:
            for name in BASELINES:
                for suffix, metrics in (("", self.epe), ("_moving", self.epe_moving)):
                    value = float(metrics[name].compute())
                    if math.isfinite(value):  # there may be no moving pixel
                        self._baseline_values[f"val/epe{suffix}_{name}"] = value
        self.log("val/loss", self.val_loss.compute())
        self.log("val/epe", self.epe["network"].compute(), prog_bar=True)
        if (moving := self.epe_moving["network"].compute()).isfinite():
            self.log("val/epe_moving", moving)
        self.log_dict(self._baseline_values)
        self.log_dict({f"val/{name}": v for name, v in self.few_points.compute().items()})
        for metric in (self.val_loss, self.epe, self.epe_moving):
            metric.reset()
        if is_partial(self.trainer):
            self._baseline_values = {}
            self.few_points.forget()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to six items: guidance, prediction, the given flow, edge-aware interpolation."""
        batch = {k: v[:6] for k, v in batch.items()}
        predicted = self.decode(self(*_inputs(batch)), batch["flow"].shape[-2:])
        motion = motion_panel(batch, predicted, self._baselines(batch)["edge_aware"])
        curves = self.few_points.figure()
        return {"motion": motion} | ({} if curves is None else {"few_points": curves})

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate the end-point errors beside those of the baselines.

        Args:
            metrics: of a validation, `val/…`, and before training, `untrained/…`.
        """
        parts = {"": "all pixels", "_moving": "moving pixels"}
        parts = {part: title for part, title in parts.items() if f"val/epe{part}" in metrics}

        def row(name: str, suffix: str, when: str = "val") -> list[str]:
            return [name, *(f"{metrics[f'{when}/epe{part}{suffix}']:.3f}" for part in parts)]

        rows = [row(title, f"_{name}") for name, title in BASELINES.items()]
        if "untrained/epe" in metrics:
            rows.append(row("untrained network", "", "untrained"))
        rows.append(row("CMP network", ""))
        best = [min(metrics[f"val/epe{part}_{name}"] for name in BASELINES) for part in parts]
        gains = [
            # of an error that the table shows as 0.000, no other one is a percentage
            f"{metrics[f'val/epe{part}'] / least - 1:+.0%}" if least >= 0.0005 else ""
            for part, least in zip(parts, best, strict=True)
        ]
        if any(gains):
            rows.append(["against the best baseline", *gains])
        error = "end-point error in px"
        if self._origins - {"true"}:
            error += f", against {flow_name(sorted(self._origins), 'flow')}"
        return [error, *parts.values()], rows

    def _predict(self, *inputs: Tensor) -> Tensor:
        height, width = inputs[0].shape[-2:]
        return self.decode(self(*inputs), (height, width))

    def _baselines(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        size = batch["flow"].shape[-2:]
        most = max(1, int(batch["point_mask"].sum(1).max()))  # the rest is padding
        points, vectors, mask = (g[:, :most] for g in _inputs(batch)[1:])
        return {
            "zero": torch.zeros_like(batch["flow"]),
            "nearest": nearest_interpolation(points, vectors, mask, size),
            "edge_aware": edge_aware_interpolation(batch["image"], points, vectors, mask),
        }


def _inputs(batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return batch["image"], batch["points"], batch["vectors"], batch["point_mask"]

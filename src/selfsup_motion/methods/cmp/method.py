"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019).

From one image and the motion of a few of its points, predict the motion of all its pixels. To do
so, the image encoder must know what belongs together and how it can move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
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
from selfsup_motion.methods.cmp.few_points import FewPointCurves
from selfsup_motion.methods.cmp.figures import flow_name, motion_panel
from selfsup_motion.methods.cmp.propagate import EncodedImages, Points, encode, propagate
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.rank_weight import rank_weight
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.motion_decoders.sparse_image import SparsePropagation
from selfsup_motion.models.precision import own_precision, wide
from selfsup_motion.models.resnet import published_init_
from selfsup_motion.ops.dominant_motion import dominant_motion
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
from selfsup_motion.ops.motion_code import MotionCode
from selfsup_motion.ops.pictures import Pictures

MOVING = 1.0
"""Pixels: a pixel moves if its motion differs by more than this from the dominant motion."""

BASELINES = {
    "zero": "zero flow",
    "nearest": "nearest guidance vector",
    "edge_aware": "edge-aware interpolation",
}
"""What the network is measured against: the same pixels and guidance, no learning."""

_FLOW_BINS = FlowBins()


class CMP(Method):
    """Image and sparse motion → dense motion.

    Batches come from `CMPView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        propagation: Callable[..., nn.Module] | None = None,
        motion_code: MotionCode = _FLOW_BINS,
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
        super().__init__()
        self.encoder = encoder
        check_sees(encoder, "image", "CMP")
        feature_channels = declared(encoder, "feature_channels")
        if propagation is None:
            propagation = partial(SparsePropagation, stride=declared(encoder, "stride"))
        self.motion_code = motion_code
        self.propagation = propagation(feature_channels=feature_channels, motion_code=motion_code)
        self.epe_weight, self.use_guidance = epe_weight, use_guidance
        self.make_optimizer, self.make_schedule = optimizer, schedule
        if published_init:
            published_init_(self)
        self.to(memory_format=torch.channels_last)
        for name, levels in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, levels, persistent=False)

        names = ["network", *BASELINES]
        self.epe = nn.ModuleDict({name: MeanMetric() for name in names})
        self.epe_moving = nn.ModuleDict({name: MeanMetric() for name in names})
        self.val_loss = MeanMetric()
        self.few_points = FewPointCurves()
        self._baseline_values: dict[str, float] = {}
        self._guided = False
        self._origins: set[str] = set()

    def forward(self, image: Tensor, points: Tensor, vectors: Tensor, point_mask: Tensor) -> Tensor:
        """Score the motion of every pixel.

        Args:
            image: (B, 3, H, W) uint8, or float in [0, 255]; RGB.
            points: (B, K, 2) float, x, y in pixels.
            vectors: (B, K, 2) float, displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.

        Returns:
            (B, motion_code.channels, h, w) scores at the propagation module's resolution.
        """
        return self._score_all(image, points, vectors, point_mask)[0]

    def _score_all(
        self, image: Tensor, points: Tensor, vectors: Tensor, point_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores at all the resolutions that the propagation module has, the finest first."""
        height, width = image.shape[-2:]
        return self.spread(self.features(image), points, vectors, point_mask, (height, width))

    def spread(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, ...]:
        """Features and guidance → scores, the finest first."""
        if not self.use_guidance:
            points, vectors, point_mask = map(torch.zeros_like, (points, vectors, point_mask))
        with own_precision(self):
            scores = self.propagation(features, points, vectors, point_mask, size)
        return (scores,) if isinstance(scores, Tensor) else tuple(scores)

    def spread_image(self, features: Mapping[str, Tensor], guidance: Tensor) -> tuple[Tensor, ...]:
        """As `spread`, of guidance that is an image already: only with the published propagation.

        Args:
            features: of `features` or `prepare`.
            guidance: (B, 4, H, W): x motion, y motion, mask, mask.
        """
        if not isinstance(self.propagation, SparsePropagation):
            raise ValueError(f"{type(self.propagation).__name__} takes points, not an image")
        if not self.use_guidance:
            guidance = torch.zeros_like(guidance)
        with own_precision(self):
            scores = self.propagation.spread(features, guidance)
        return (scores,) if isinstance(scores, Tensor) else tuple(scores)

    def prepare(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Do what of `spread` depends on the image alone, if there are several sets of guidance."""
        if isinstance(self.propagation, SparsePropagation):
            with own_precision(self):
                return self.propagation.prepare(features)
        return dict(features)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """What the propagation module sees of an image (B, 3, H, W), as in `forward`."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        image = image.to(wide(mean.dtype))
        normalised = (image - mean) / std
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        with own_precision(self):
            features: dict[str, Tensor] = self.encoder.forward_features(normalised)  # type: ignore[operator]
        return {**features, "image": normalised, "rgb": image / 255}

    def decode(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores → (B, 2, H, W) flow in pixels: decoded where they are, then enlarged."""
        flow = self.motion_code.decode(scores)
        return F.interpolate(flow, size, mode="bilinear", align_corners=True)

    def propagate(
        self,
        image: Pictures,
        points: Points,
        vectors: Points,
        point_mask: Tensor | None = None,
        *,
        short_side: int | None = None,
        dtype: torch.dtype | None = None,
        differentiable: bool = False,
    ) -> Tensor:
        """Spread the motion of a few points over an image of any size.

        The image is resized to `short_side` for the network, points and vectors with it, and the
        flow is resized back: in and out, everything is in pixels of the image given. Whole numbers
        are pixel centres; the image begins at -0.5. The image is encoded once, however many sets of
        guidance there are. Call it in evaluation mode, which `load_method` sets.

        Args:
            image: RGB, uint8 or float in [0, 1]: a tensor (3, H, W) or (B, 3, H, W), an array
                (H, W, 3) or (B, H, W, 3), a PIL image, or a list of these of equal size.
            points: where the motion is given, (x, y): (K, 2) for one image, (B, K, 2) for a batch,
                each with T before the K if the points differ over time; or, where their number
                differs, a list along the first of these dimensions. Tensors, arrays or lists.
            vectors: displacement of the points, alike. With T only here, the same points move
                differently at each time.
            point_mask: bool, as `points` without the 2: rows to use. None: all.
            short_side: pixels; of the size that the network was trained at. None: the image's own.
                Rounded to the encoder's stride, at least 8 strides.
            dtype: torch.float16 or torch.bfloat16 computes in mixed precision.
            differentiable: keep the graph (else gradients are off).

        Returns:
            float32 flow in pixels on the network's device, (2, H, W) for one image, (B, 2, H, W)
            for a batch, with T before the 2 if the guidance has it. Zero points give the network's
            guess.

        Raises:
            ValueError: shapes that do not fit, a point outside the image, infinite values or NaN.
        """
        return propagate(
            self, image, points, vectors, point_mask,
            short_side=short_side, dtype=dtype, differentiable=differentiable,
        )  # fmt: skip

    def encode(
        self,
        image: Pictures,
        *,
        short_side: int | None = None,
        dtype: torch.dtype | None = None,
        differentiable: bool = False,
    ) -> EncodedImages:
        """Look at images once, to ask for their motion several times.

        `encode(image, …).propagate(points, vectors)` is `propagate(image, points, vectors, …)`.

        Args:
            image: see `propagate`.
            short_side: see `propagate`.
            dtype: see `propagate`.
            differentiable: see `propagate`.
        """
        return encode(
            self, image, short_side=short_side, dtype=dtype, differentiable=differentiable
        )

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.few_points.forget()
        self._baseline_values = {}
        self._guided = False
        self._origins = set()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Classify the motion of every valid pixel (section 3.3)."""
        scores = self._score_all(*_inputs(batch))
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
                metric[name].update(error, pixels.float())  # type: ignore[operator]
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
                    value = float(metrics[name].compute())  # type: ignore[operator]
                    if math.isfinite(value):  # there may be no moving pixel
                        self._baseline_values[f"val/epe{suffix}_{name}"] = value
        self.log("val/loss", self.val_loss.compute())
        self.log("val/epe", self.epe["network"].compute(), prog_bar=True)  # type: ignore[operator]
        if (moving := self.epe_moving["network"].compute()).isfinite():  # type: ignore[operator]
            self.log("val/epe_moving", moving)
        self.log_dict(self._baseline_values)
        self.log_dict({f"val/{name}": v for name, v in self.few_points.compute().items()})
        for metric in (self.val_loss, *self.epe.values(), *self.epe_moving.values()):
            metric.reset()  # type: ignore[operator]
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

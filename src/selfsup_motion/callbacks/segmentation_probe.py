"""How good the encoder is at something else, while it is being trained."""

import copy
import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch

from selfsup_motion.data.reading.label_classes import LabelClasses
from selfsup_motion.data.source import Source
from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import encoder_of
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.models.encoder import check_sees
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.segmentation.linear_probe import Labelled, labelled_images, probe_iou

log = logging.getLogger(__name__)


class SegmentationProbe(pl.Callback):
    """Logs `val/probe_miou`: a linear probe of segmentation on the encoder's features.

    A copy of the encoder in evaluation mode is looked at, and no random number is drawn: training
    goes on as if nothing had been. The first rank computes, all log.
    """

    def __init__(
        self,
        *,
        source: Source,
        test_source: Source,
        classes: LabelClasses,
        labels: str,
        images: int,
        test_images: int,
        short_side: int | None,
        layer: str | None,
        cells: int,
        penalty: float,
        steps: int,
        every_n_validations: int,
    ) -> None:
        """Describe the probe.

        Args:
            source: labelled images to learn from, the first ones of it.
            test_source: labelled images to score, likewise.
            classes: of the labels.
            labels: entry of `Clip.labels`.
            images: how many to learn from.
            test_images: how many to score.
            short_side: images are resized to it; null: as they are.
            layer: of the encoder (`layer4`); null: its output.
            cells: see `probe_iou`.
            penalty: see `probe_iou`.
            steps: see `probe_iou`.
            every_n_validations: how often.

        Raises:
            UserError: a number out of range.
        """
        for name, value in (
            ("images", images), ("test_images", test_images), ("cells", cells), ("steps", steps),
            ("every_n_validations", every_n_validations),
        ):  # fmt: skip
            if value < 1:
                raise UserError(f"callbacks.probe.{name}={value}: expected at least 1.")
        self.source, self.test_source, self.classes, self.labels = (
            source, test_source, classes, labels,
        )  # fmt: skip
        self.images, self.test_images, self.short_side = images, test_images, short_side
        self.layer, self.every_n_validations = layer, every_n_validations
        self.options: dict[str, Any] = {"cells": cells, "penalty": penalty, "steps": steps}
        self._validations = 0
        self._images: tuple[list[Labelled], list[Labelled]] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses an encoder that cannot be probed, before training.

        Raises:
            UserError: it is not one of images, or has no such layer.
        """
        self._frames(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if is_partial(trainer):
            return
        if not trainer.sanity_checking:  # the untrained encoder is probed in any case
            self._validations += 1
            last = trainer.should_stop or trainer.global_step >= trainer.max_steps > 0
            if not last and self._validations % self.every_n_validations:
                return
        value = self._miou(pl_module) if trainer.is_global_zero else 0.0
        value = trainer.strategy.broadcast(value)
        if math.isfinite(value):
            pl_module.log("val/probe_miou", value)
        else:
            log.warning("callbacks.probe: no test image has a label, so nothing can be scored.")

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def _miou(self, pl_module: pl.LightningModule) -> float:
        if self._images is None:
            self._images = (
                list(labelled_images(self.source, self.labels, self.images, self.short_side)),
                list(
                    labelled_images(
                        self.test_source, self.labels, self.test_images, self.short_side
                    )
                ),
            )
        # the probe needs gradients of its own, which a validation has switched off
        with torch.inference_mode(False), torch.enable_grad():
            frames = self._frames(pl_module)
            iou = probe_iou(frames, *self._images, len(self.classes), **self.options)
        return float(iou.nanmean())

    def _frames(self, pl_module: pl.LightningModule) -> FrameEncoder:
        encoder = encoder_of(pl_module)
        if encoder is None:
            raise UserError(
                f"callbacks=probe needs a method with an attribute encoder, "
                f"{type(pl_module).__name__} has none."
            )
        check_sees(encoder, "image", "callbacks=probe")
        try:
            return FrameEncoder(copy.deepcopy(encoder), self.layer).to(pl_module.device)
        except ValueError as error:
            raise UserError(f"callbacks.probe: {error}.") from error

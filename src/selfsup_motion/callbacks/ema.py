"""An average of the weights over the steps, which often validates better than the last ones."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor

from selfsup_motion.errors import UserError
from selfsup_motion.weights.contents import EMA_KEY


class EMA(pl.Callback):
    """Keeps an exponential moving average of all weights and floating-point buffers.

    Step t moves the average towards the weights by 1 − min(decay, (1 + t) / (10 + t)), so that the
    first steps do not weigh for long. Checkpoints hold the average as `state_dict`, for what loads
    them, and the weights themselves in the entry `ema`, for the run that goes on.
    """

    def __init__(self, decay: float, validate: bool) -> None:
        """Describe the average.

        Args:
            decay: share of the average that a late step keeps, in [0, 1).
            validate: validate the average, instead of the weights.
        """
        if not 0 <= decay < 1:
            raise UserError(f"callbacks.ema.decay={decay}: expected 0 or more and less than 1.")
        self.decay = decay
        self.validate = validate
        self.average: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] | None = None
        """The weights while the average stands in for them."""
        self._last_step = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses what would have to gather the whole model at every step."""
        if isinstance(trainer.strategy, FSDPStrategy):
            raise UserError("callbacks=ema does not work with trainer.strategy=fsdp: use ddp.")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts from the weights, or brings what was loaded to the device."""
        own = pl_module.state_dict()
        if self.average:
            self.average = {k: self.average[k].to(v.device, copy=True) for k, v in own.items()}
        else:
            self.average = {k: v.detach().clone() for k, v in own.items()}
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Moves the average towards the weights, once a step."""
        step = trainer.global_step
        if step == self._last_step:  # a batch of an unfinished gradient accumulation
            return
        self._last_step = step
        weights = pl_module.state_dict()
        smooth = [name for name, value in weights.items() if value.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_(
                [self.average[name] for name in smooth],
                [weights[name] for name in smooth],
                1 - min(self.decay, (1 + step) / (10 + step)),
            )
        for name in weights.keys() - set(smooth):
            self.average[name].copy_(weights[name])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the average in the place of the weights."""
        if self.validate and trainer.state.fn == "fit":
            own = pl_module.state_dict()
            self._weights = {name: value.detach().clone() for name, value in own.items()}
            _copy(self.average, own)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._put_back(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._put_back(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        weights = checkpoint["state_dict"] if self._weights is None else self._weights
        checkpoint[EMA_KEY] = {"weights": weights}
        checkpoint["state_dict"] = self.average

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Goes on with both; a run that had no average begins one here."""
        if EMA_KEY in checkpoint:
            self.average = dict(checkpoint["state_dict"])
            pl_module.load_state_dict(checkpoint[EMA_KEY]["weights"])

    def _put_back(self, pl_module: pl.LightningModule) -> None:
        if self._weights is not None:
            _copy(self._weights, pl_module.state_dict())
            self._weights = None


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])

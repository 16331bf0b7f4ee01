"""Whether the encoder still tells things apart: what a falling loss does not show."""

import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import encoder_of

log = logging.getLogger(__name__)

MAX_POSITIONS = 64
"""Feature vectors of one image or clip that are looked at, evenly spread over its positions."""


class CollapseMonitor(pl.Callback):
    """Logs `val/feature_std` and `val/feature_rank` of the encoder, over the whole validation.

    Both are of the feature vectors at the encoder's output, each scaled to length 1:

    - `feature_std`: standard deviation of a channel, root mean square over the channels, times the
      root of their number. 1 for directions that are spread evenly, 0 if all are the same
      (SimSiam, Chen and He, CVPR 2021, section 4.1).
    - `feature_rank`: effective rank, the exponential of the entropy of the normalised singular
      values of the centred vectors (Roy and Vetterli, EUSIPCO 2007): between 1 and the number of
      channels.
    """

    def __init__(self, warn_below: float) -> None:
        """Choose when to warn.

        Args:
            warn_below: `feature_std` under which the log warns; 0 never does.
        """
        if not 0 <= warn_below < 1:
            raise UserError(
                f"callbacks.collapse.warn_below={warn_below}: expected 0 or more and less than 1."
            )
        self.warn_below = warn_below
        self._hooks: list[RemovableHandle] = []
        self._told = False
        self._latest: Tensor | None = None
        self._count: Tensor | None = None
        self._sum: Tensor | None = None
        self._products: Tensor | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._count = self._sum = self._products = self._latest = None
        encoder = encoder_of(pl_module)
        if encoder is None:
            if not self._told:
                log.info("No features are watched: %s has no encoder.", type(pl_module).__name__)
            self._told = True
            return
        # what ran last inside it is its output, whichever of its methods was called
        self._hooks = [m.register_forward_hook(self._keep_output) for m in encoder.modules()]

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if self._latest is None:
            return
        x = self._latest.detach()
        self._latest = None
        places = x.flatten(2) if x.ndim > 2 else x[:, :, None]
        rows = places[:, :, :: -(-places.shape[2] // MAX_POSITIONS)].transpose(1, 2).flatten(0, 1)
        # float64 where there is one: differences of large sums follow
        rows = nn.functional.normalize(rows.float(), dim=1)
        rows = rows.to(torch.float32 if rows.device.type == "mps" else torch.float64)
        if self._sum is None or self._products is None or self._count is None:
            channels = rows.shape[1]
            self._count = rows.new_zeros(())
            self._sum, self._products = rows.new_zeros(channels), rows.new_zeros(channels, channels)
        self._count += len(rows)
        self._sum += rows.sum(0)
        self._products += rows.T @ rows

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs both numbers, of all ranks' vectors together."""
        self._unhook()
        if self._sum is None or self._products is None or self._count is None:
            return
        count, total, products = (
            trainer.strategy.reduce(part, reduce_op="sum")
            for part in (self._count, self._sum, self._products)
        )
        if count < 2:  # a single vector does not spread
            return
        mean = total / count
        std, rank = spread((products / count - mean.outer(mean)).cpu())
        pl_module.log("val/feature_std", std, sync_dist=True)
        pl_module.log("val/feature_rank", rank, sync_dist=True)
        if std < self.warn_below and not trainer.sanity_checking:
            log.warning(
                "Step %d: the encoder's features have collapsed (val/feature_std %.2g, "
                "val/feature_rank %.1f of %d).",
                trainer.global_step, std, rank, len(mean),
            )  # fmt: skip

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._unhook()

    def _keep_output(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim > 1:
            self._latest = output

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def spread(covariance: Tensor) -> tuple[float, float]:
    """Standard deviation and effective rank of vectors of length 1.

    Args:
        covariance: (C, C) of the vectors.

    Returns:
        `feature_std` in [0, 1] and `feature_rank` in [1, C] (see `CollapseMonitor`).
    """
    variances = torch.linalg.eigvalsh(covariance).clamp(min=0)
    std = math.sqrt(float(variances.sum()))
    singular = variances.sqrt()
    if not float(singular.sum()) > 0:
        return std, 1.0
    share = singular / singular.sum()
    entropy = -torch.special.xlogy(share, share).sum()
    return std, float(entropy.exp())

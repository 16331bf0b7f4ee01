"""What the network can do before it has learned anything, to compare training with."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from selfsup_motion.callbacks.checkpointing import Provenance
from selfsup_motion.weights.contents import KEY

log = logging.getLogger(__name__)


class Untrained(pl.Callback):
    """Validates a new run's network before its first step, on all the data of a validation.

    It makes Lightning's sanity check a whole validation, which draws no random number of the
    training and writes neither checkpoints nor figures. The metrics stay with the run: they are in
    every checkpoint, in `summary.json` (`untrained`) and in the closing table.

    Attributes:
        metrics: the validation's, without those that have no value; empty if it was not made.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self._of_other_data = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Asks for the whole validation; a resumed run makes none."""
        if stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.num_sanity_val_steps = math.inf

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        log.info("Validating the untrained network first (callbacks.untrained=null skips this).")

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.metrics = {name: value for name, value in found.items() if math.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check whether the validation data are still those of the beginning of the run."""
        own = [c for c in trainer.callbacks if isinstance(c, Provenance)]  # type: ignore[attr-defined]
        stored = checkpoint.get(KEY, {}).get("config", {})
        now = own[0].provenance.get("config", {}) if own else stored
        self._of_other_data = _validation(stored) != _validation(now)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the metrics over, unless they are of other data."""
        if self._of_other_data:
            log.info("The validation data have changed: no comparison with the untrained network.")
        else:
            self.metrics = dict(state_dict["metrics"])


def untrained_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """What `Untrained` has measured in this run; empty without it."""
    found = [c.metrics for c in trainer.callbacks if isinstance(c, Untrained)]  # type: ignore[attr-defined]
    return found[0] if found else {}


def _validation(config: Mapping[str, Any]) -> list[Any]:
    """What of a resolved config decides about the validation data."""
    module = config.get("data", {}).get("module", {})
    parts = [module.get(name) for name in ("val_source", "val_sampler", "val_view", "flow")]
    return [*parts, config.get("trainer", {}).get("limit_val_batches")]

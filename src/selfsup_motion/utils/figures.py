"""Pictures of what the method does, always of the same validation batch."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from selfsup_motion.data.pictures import save_picture
from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)


class Figures(pl.Callback):
    """Writes `figures/step_<step>_<name>.png` from `method.figures(first validation batch)`.

    Args:
        every_n_validations: how often; the last validation of a run is always drawn. 0: never.
    """

    def __init__(self, every_n_validations: int = 1) -> None:
        if every_n_validations < 0:
            raise UserError(
                f"callbacks.figures.every_n_validations={every_n_validations}: expected 0 or more."
            )
        self.every_n_validations = every_n_validations
        self.written: list[Path] = []
        self._validations = 0
        self._batch: Any = None

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the first batch until the end of the validation."""
        if batch_idx == dataloader_idx == 0 and trainer.is_global_zero and self.every_n_validations:
            self._batch = batch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws."""
        batch, self._batch = self._batch, None
        if batch is None or trainer.sanity_checking:
            return
        self._validations += 1
        last = trainer.should_stop or trainer.global_step >= trainer.max_steps > 0
        if not last and self._validations % self.every_n_validations:
            return
        folder = Path(trainer.default_root_dir) / "figures"
        folder.mkdir(exist_ok=True)
        self.written = []
        images: dict[str, np.ndarray[Any, Any]] = pl_module.figures(batch)  # type: ignore[operator]
        for name, image in images.items():
            path = folder / f"step_{trainer.global_step:06d}_{name}.png"
            save_picture(path, image)
            self.written.append(path)
            _send(trainer, name, image)

    def state_dict(self) -> dict[str, Any]:
        """Number of validations so far."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self._validations = state_dict["validations"]


def _send(trainer: pl.Trainer, name: str, image: np.ndarray[Any, Any]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(f"figures/{name}", [image])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(
                f"figures/{name}", image, trainer.global_step, dataformats="HWC"
            )

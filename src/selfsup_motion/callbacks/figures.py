"""Pictures of what the method does, always of the same validation clips."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.errors import UserError
from selfsup_motion.methods.method import figures_of

_SHOWN = 8
"""Clips that a method is given to draw."""

log = logging.getLogger(__name__)


class Figures(pl.Callback):
    """Writes `figures/step_<step>_<name>.png` from `method.figures(batch)`.

    The batch is of the first validation clips of different videos; further clips of these videos
    follow only if there are not enough videos.

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
        self._clips = _Clips()

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps some clips until the end of the validation."""
        if dataloader_idx == 0 and trainer.is_global_zero and self.every_n_validations:
            if batch_idx == 0:
                self._clips = _Clips()
            self._clips.add(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batch, self._clips = self._clips.batch(), _Clips()
        if batch is None or trainer.sanity_checking:
            return
        self._validations += 1
        last = trainer.should_stop or trainer.global_step >= trainer.max_steps > 0
        if not last and self._validations % self.every_n_validations:
            return
        folder = Path(trainer.default_root_dir) / "figures"
        self.written = []
        for name, image in figures_of(pl_module, batch).items():
            folder.mkdir(exist_ok=True)
            path = folder / f"step_{trainer.global_step:06d}_{name}.png"
            save_picture(path, image)
            self.written.append(path)
            _send(trainer, name, image)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]


class _Clips:
    """The first clips of different videos that a validation shows."""

    def __init__(self) -> None:
        self._first: Any = None
        self._of_others: list[dict[str, Any]] = []
        self._of_same: list[dict[str, Any]] = []
        self._videos: set[str] = set()
        self._divisible = True

    def add(self, batch: Any) -> None:
        """Choose among the clips of a batch."""
        if self._first is None:
            self._first = batch
        keys = batch.get("key") if isinstance(batch, dict) else None
        if keys is None or not self._divisible or _count(self._of_others) >= _SHOWN:
            return
        new: list[int] = []
        same: list[int] = []
        for place, key in enumerate(keys):
            (same if key in self._videos else new).append(place)
            self._videos.add(key)
        try:
            for parts, places in ((self._of_others, new), (self._of_same, same)):
                if chosen := places[: _SHOWN - _count(parts)]:
                    parts.append(_taken(batch, chosen))
        except (TypeError, ValueError):
            self._divisible = False

    def batch(self) -> Any:
        """The chosen clips as one batch; the first batch if they cannot be put together."""
        parts = list(self._of_others)
        for part in self._of_same:
            places = list(range(len(part["key"])))[: _SHOWN - _count(parts)]
            parts += [_taken(part, places)] if places else []
        if not parts or not self._divisible:
            return self._first
        try:
            return _joined(parts)
        except RuntimeError:  # pictures of different sizes
            return self._first


def _count(parts: list[dict[str, Any]]) -> int:
    return sum(len(part["key"]) for part in parts)


def _taken(batch: dict[str, Any], places: list[int]) -> dict[str, Any]:
    """Some clips of a batch."""
    count = len(batch["key"])
    if any(len(value) != count for value in batch.values()):
        raise ValueError("an entry is not one a clip")
    return {
        name: value[places] if isinstance(value, Tensor) else [value[i] for i in places]
        for name, value in batch.items()
    }


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: torch.cat([part[name] for part in parts])
        if isinstance(parts[0][name], Tensor)
        else [item for part in parts for item in part[name]]
        for name in parts[0]
    }


def _send(trainer: pl.Trainer, name: str, image: np.ndarray[Any, Any]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(f"figures/{name}", [image])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(
                f"figures/{name}", image, trainer.global_step, dataformats="HWC"
            )

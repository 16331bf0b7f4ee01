"""Tells which file the loading of data hangs on."""

import logging
import threading
import time
from typing import Any

import pytorch_lightning as pl

from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)


class ReportStalls(pl.Callback):
    """Names in the log each video whose reading takes too long: a file on a dead disk, say.

    The run waits on, as the file may come; Ctrl-C and SIGTERM end it all the same.
    """

    def __init__(self, after_seconds: float) -> None:
        """Choose the patience.

        Args:
            after_seconds: that one video may take.
        """
        if after_seconds <= 0:
            raise UserError(
                f"callbacks.stalls.after_seconds={after_seconds}: expected more than 0."
            )
        self.after_seconds = after_seconds
        self._over = threading.Event()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ClipDataModule):
            self._over = threading.Event()
            threading.Thread(
                target=self._watch, args=(data, self._over), daemon=True, name="stalls"
            ).start()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._over.set()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._over.set()

    def _watch(self, data: ClipDataModule, over: threading.Event) -> None:
        told = set()
        while not over.wait(min(self.after_seconds / 4, 5.0)):
            for worker, name, since in data.slow_readings(self.after_seconds):
                if (worker, name, since) not in told:
                    told.add((worker, name, since))
                    seconds = time.monotonic() - since
                    log.warning(
                        "Loading process %d has been reading %s for %.0f s.", worker, name, seconds
                    )

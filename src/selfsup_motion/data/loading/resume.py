"""Where training stands, read from the trainer: Lightning keeps and restores these counts.

`batch_progress` counts every batch at four moments: ready (fetched), started, processed (after its
training step) and completed (after the hooks that follow, in which checkpoints are saved).
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


def processed_batches(trainer: pl.Trainer) -> int:
    """Return how many batches of all epochs have gone through their training step."""
    # `ready` would lose the batch whose step was interrupted, `completed` would repeat the one
    # after which a checkpoint was saved
    return int(_batch_progress(trainer).total.processed)


def rewind_to_step(trainer: pl.Trainer) -> None:
    """Let a run that was cut inside an optimizer step resume at the beginning of that step.

    Gradients are in no checkpoint: the batches whose gradients were being accumulated, and the one
    that was being worked on, have to be seen again. Lightning alone would go on in the middle. To
    be called between the restoring of the loops and their start; changes nothing otherwise.
    """
    progress = _batch_progress(trainer)
    current, total = progress.current, progress.total
    interrupted = current.ready > current.processed
    pending = current.processed % trainer.accumulate_grad_batches
    if progress.is_last_batch and not interrupted:
        pending = 0  # the last step of an epoch may have fewer batches
    if pending or interrupted:
        for counts in (current, total):
            done = counts.processed - pending
            counts.ready = counts.started = counts.processed = counts.completed = done
        progress.is_last_batch = False


def _batch_progress(trainer: pl.Trainer) -> Any:
    return trainer.fit_loop.epoch_loop.batch_progress

"""What ends a run, or a step, that has gone wrong: losses and gradients that are no numbers."""

import logging
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from selfsup_motion.callbacks.checkpointing import last_path
from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)


class NonFinite(pl.Callback):
    """Looks at the loss and the gradient of every step, before the optimiser does.

    Attributes:
        skipped_steps: steps left out, over all sessions of the run.
    """

    def __init__(self, action: Literal["stop", "skip"], max_in_a_row: int) -> None:
        """Choose what to do about a loss or a gradient that is infinite or not a number.

        With 16-bit floats (16-mixed) infinite gradients are usual now and then: the step is left
        out and counted, whatever `action`.

        Args:
            action: "stop" ends the run before the step is made. "skip" leaves the step out: no
                weight, no state of the optimiser and no running statistic changes.
            max_in_a_row: more skipped steps than this, one after the other, end the run.
        """
        if max_in_a_row < 1:
            raise UserError(
                f"callbacks.non_finite.max_in_a_row={max_in_a_row}: expected 1 or more."
            )
        self.action = action
        self.max_in_a_row = max_in_a_row
        self.skipped_steps = 0
        self._in_a_row = 0
        self._keys: list[str] = []
        self._losses: list[Tensor] = []
        self._before: dict[str, Tensor] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *_: Any
    ) -> None:
        """Remembers which samples the step sees, and the running statistics before it."""
        if self.action == "skip" and not self._losses:
            self._before = {name: b.detach().clone() for name, b in pl_module.named_buffers()}
        if isinstance(batch, dict):
            self._keys += batch.get("key", [])

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Keeps the loss; looking at it now would wait for the device."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        losses, keys = torch.stack(self._losses), self._keys
        self._losses, self._keys = [], []
        bad_loss, bad_gradient = self._look(trainer, losses, optimizer)
        if not bad_loss and not bad_gradient:
            self._in_a_row = 0
            return
        what = f"the loss is {_worst(losses)}" if bad_loss else "the gradient is not finite"
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None and not bad_loss
        if not scaled:
            self._in_a_row += 1
            if self.action == "stop" or self._in_a_row > self.max_in_a_row:
                raise UserError(self._refusal(trainer, what, losses, keys))
            log.warning("Step %d: %s, skipped.", trainer.global_step + 1, what)
        self.skipped_steps += 1
        self._leave_out(pl_module, optimizer, keep_gradient=scaled)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop._should_accumulate():
            return
        self._losses, self._keys = [], []

    def state_dict(self) -> dict[str, Any]:
        return {"skipped_steps": self.skipped_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped_steps = state_dict["skipped_steps"]

    def _look(self, trainer: pl.Trainer, losses: Tensor, optimizer: Optimizer) -> tuple[bool, bool]:
        """Whether the loss and the gradient of any rank are not finite."""
        gradients = [p.grad for g in optimizer.param_groups for p in g["params"]]
        largest = torch._foreach_norm([g for g in gradients if g is not None], float("inf"))
        bad = torch.stack(
            [
                (~losses.isfinite()).any().float(),
                (~torch.stack([n.float() for n in largest]).isfinite()).any().float()
                if largest
                else losses.new_zeros((), dtype=torch.float32),
            ]
        )
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad, reduce_op="sum")
        bad_loss, bad_gradient = bad.tolist()
        return bad_loss > 0, bad_gradient > 0

    def _refusal(self, trainer: pl.Trainer, what: str, losses: Tensor, keys: list[str]) -> str:
        suspects = keys if not losses.isfinite().all() else []
        if trainer.world_size > 1:
            everyone: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everyone, (suspects, keys))
            suspects = [key for some, _ in everyone for key in some]
            keys = [key for _, some in everyone for key in some]
        named = suspects or keys
        shown = ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
        last = last_path(trainer)
        saved = f"the last good checkpoint is {last}" if last.exists() else "nothing is saved yet"
        often = f", {self._in_a_row} times in a row" if self._in_a_row > 1 else ""
        return (
            f"Step {trainer.global_step + 1}: {what}{often}"
            f"{f' (samples {shown})' if shown else ''}; the step was not taken, {saved}. Lower the "
            "learning rate or set trainer.gradient_clip_val"
            + (
                "."
                if self.action == "skip"
                else ", or continue with callbacks.non_finite.action=skip."
            )
        )

    def _leave_out(
        self, pl_module: pl.LightningModule, optimizer: Optimizer, *, keep_gradient: bool
    ) -> None:
        if not keep_gradient:  # the scaler looks at it once more, and skips the step itself
            # a gradient of zero would still move momentum, weight decay and moments
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        with torch.no_grad():
            for name, buffer in pl_module.named_buffers():
                if name in self._before:
                    buffer.copy_(self._before[name])


def _worst(losses: Tensor) -> str:
    bad = losses[~losses.isfinite()]
    return f"{float(bad[0])}" if len(bad) else "not finite on another rank"

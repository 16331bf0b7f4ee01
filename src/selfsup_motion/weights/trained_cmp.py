"""Which network the applications use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.settings.trust import Trust
from selfsup_motion.weights.checkpoints import load_network
from selfsup_motion.weights.choice import chosen_checkpoint
from selfsup_motion.weights.contents import KEY, read_checkpoint
from selfsup_motion.weights.used import WeightsUsed, weights_used

_PUBLISHED_SIDE = 384


@dataclass(frozen=True)
class Weights:
    """A trained CMP and the size that it is used to.

    Attributes:
        method: in evaluation mode.
        short_side: of the crops that it was trained on, in pixels.
        used: which weights these are.
    """

    method: CMPNetwork
    short_side: int
    used: WeightsUsed

    def at(self, short_side: int) -> Weights:
        """The same, used at another size."""
        return replace(self, short_side=short_side)


def load_weights(
    checkpoint: str, device: str = "cpu", key: str | None = None, trust: Trust = ()
) -> Weights:
    """Load a trained CMP.

    Args:
        checkpoint: a model of the package, a run folder or a checkpoint file; "auto" is the newest
            finished CMP run below `outputs/`.
        device: as PyTorch names it.
        key: of the weights in the file, see `load_encoder`.
        trust: packages of the user's own that the checkpoint may use, see `load_method`.

    Raises:
        UserError: no such checkpoint, one of another method, or no such device.
    """
    path = chosen_checkpoint(checkpoint, "CMP")
    try:
        method = load_network(path, key=key, trust=trust, map_location=_device(device))
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint={error}") from error
    if not isinstance(method, CMPNetwork):
        raise UserError(
            f"checkpoint={checkpoint}: it holds a {type(method).__name__}, and only CMP follows "
            "arrows; checkpoint=cmp comes with the package."
        )
    return weights_of(method)


def weights_of(method: CMPNetwork) -> Weights:
    """A CMP of `load_method` or `load_network`, with the size that it was trained at."""
    used = weights_used(method)
    assert used is not None
    return Weights(method, _trained_side(used.path), used)


def _trained_side(path: Path) -> int:
    try:
        view = read_checkpoint(path)[KEY]["config"].get("view") or {}
    except CheckpointError:  # the authors' own, which says nothing about its training
        return _PUBLISHED_SIDE
    crop = view.get("crop_size", _PUBLISHED_SIDE)
    return int(crop) if isinstance(crop, int) else int(min(crop))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: this machine has no such device, try cpu.") from error
    return device

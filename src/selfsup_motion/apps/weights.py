"""Which network the applications use."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from selfsup_motion.checkpoints import KEY, load_method, read_checkpoint
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.methods.cmp import CMP

log = logging.getLogger(__name__)

_RUNS = Path("outputs")
_PUBLISHED_SIDE = 384


@dataclass(frozen=True)
class Weights:
    """A trained CMP and the size that it is used to.

    Attributes:
        method: in evaluation mode.
        short_side: of the crops that it was trained on, in pixels.
        path: the checkpoint.
    """

    method: CMP
    short_side: int
    path: Path

    def at(self, short_side: int) -> Weights:
        """The same, used at another size."""
        return replace(self, short_side=short_side)


def load_weights(checkpoint: str, device: str = "cpu") -> Weights:
    """Load a trained CMP.

    Args:
        checkpoint: a run folder or a checkpoint file; "auto" is the newest CMP run below `outputs/`
            (its `checkpoints/best.ckpt`).
        device: as PyTorch names it.

    Raises:
        UserError: no such checkpoint, one of another method, or no such device.
    """
    path = newest_run(_RUNS) if checkpoint == "auto" else Path(checkpoint)
    try:
        method = load_method(path, map_location=_device(device))
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint={checkpoint}: {error}") from error
    if not isinstance(method, CMP):
        raise UserError(
            f"checkpoint={checkpoint}: it holds a {type(method).__name__}, and only CMP follows "
            "arrows; train one with python -m selfsup_motion.train experiment=cmp_animate."
        )
    return Weights(method, _trained_side(path), path)


def newest_run(below: Path, method: str = "CMP", experiment: str = "cmp_animate") -> Path:
    """The `best.ckpt` of the newest run of a method below a folder; `experiment` makes one.

    Raises:
        UserError: there is none.
    """
    files = [f for f in below.rglob("best.ckpt") if f.parent.name == "checkpoints"]
    for file in sorted(files, key=lambda f: (f.stat().st_mtime_ns, str(f)), reverse=True):
        try:
            config = read_checkpoint(file)[KEY]["config"]
        except CheckpointError as error:
            log.warning("checkpoint=auto: %s Trying an older one.", error)
            continue
        if str((config.get("method") or {}).get("_target_", "")).endswith(f".{method}"):
            return file
    raise UserError(
        f"checkpoint=auto: no {method} run below {below}/: make one with python -m "
        f"selfsup_motion.train experiment={experiment}, minutes on two cores, or name a checkpoint."
    )


def _trained_side(path: Path) -> int:
    if path.is_dir():
        named = (path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
        path = next(file for file in named if file.is_file())
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

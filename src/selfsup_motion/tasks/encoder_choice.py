"""Which encoder a command line means: a checkpoint, or a config with fresh weights."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from selfsup_motion.checkpoints import load_encoder
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.utils.build import build

AUTO_ROOT = Path("outputs/train/corrflow")
"""Where `checkpoint=auto` looks for runs."""

log = logging.getLogger(__name__)


def choose_encoder(node: DictConfig | None, checkpoint: str | None, seed: int) -> nn.Module:
    """The encoder, on the CPU, in evaluation mode.

    Args:
        node: config of an encoder; used if there is no checkpoint.
        checkpoint: a file or a run folder; "auto": the newest CorrFlow run.
        seed: of the weights if there is no checkpoint.

    Raises:
        UserError: neither or both are given, or the checkpoint cannot be used.
    """
    if checkpoint is None:
        if node is None:
            raise UserError(
                "Which encoder? Give checkpoint=<file or run folder>, or encoder=<name> for one "
                "without training (encoder=lab_color)."
            )
        torch.manual_seed(seed)
        made: nn.Module = build(node, "encoder")
        return made.eval()
    if node is not None:
        raise UserError(
            "checkpoint and encoder are both given: a checkpoint brings its encoder, leave one out."
        )
    path = checkpoint_path(checkpoint)
    log.info("Encoder from %s.", path)
    return load_encoder(path)


def checkpoint_path(checkpoint: str) -> Path:
    """The file or run folder that `checkpoint=` names; "auto": see `newest_run`.

    Raises:
        CheckpointError: "auto", and there is no run.
    """
    return newest_run(AUTO_ROOT) if checkpoint == "auto" else Path(checkpoint)


def newest_run(root: Path) -> Path:
    """The run folder below `root` with the newest checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    files = [p for p in root.glob("*/checkpoints/*.ckpt") if p.name in ("best.ckpt", "last.ckpt")]
    if not files:
        raise CheckpointError(
            f"checkpoint=auto: there is no CorrFlow run below {root}; train one with `python -m "
            "selfsup_motion.train experiment=corrflow`, or name a checkpoint."
        )
    return max(files, key=lambda path: path.stat().st_mtime).parents[1]


def choose_device(name: str) -> str:
    """`auto` is CUDA where there is one.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={name}: there is no CUDA device here, use device=cpu.")
    return name

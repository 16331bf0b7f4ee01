"""Which encoder a command line means: a checkpoint, or a config with fresh weights."""

from __future__ import annotations

import torch
from omegaconf import DictConfig
from torch import nn

from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.models.libraries.base import LibraryEncoder
from selfsup_motion.settings.build import build
from selfsup_motion.settings.trust import Trust
from selfsup_motion.weights.checkpoints import load_encoder
from selfsup_motion.weights.choice import chosen_checkpoint
from selfsup_motion.weights.nodes import plain
from selfsup_motion.weights.used import note_origin, weights_used


def choose_encoder(
    node: DictConfig | None,
    checkpoint: str | None,
    seed: int,
    *,
    auto_method: str,
    key: str | None = None,
    trust: Trust = (),
) -> nn.Module:
    """The encoder, on the CPU, in evaluation mode; `weights_used` tells which weights it has.

    Args:
        node: config of an encoder; used if there is no checkpoint, None if there is one. Its
            weights are random, unless it names a file of them.
        checkpoint: a file or a run folder; "auto": the newest finished run of `auto_method`.
        seed: of the weights if there is no checkpoint.
        auto_method: class of a method.
        key: of the weights in the file, see `load_encoder`.
        trust: packages of the user's own that the checkpoint may use, see `load_encoder`.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    if checkpoint is None:
        assert node is not None
        torch.manual_seed(seed)
        made: nn.Module = build(node, "encoder")
        note_origin(made, plain({"encoder": node})["encoder"])
        return made.eval()
    path = chosen_checkpoint(checkpoint, auto_method)
    try:
        return load_encoder(path, key=key, trust=trust)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint={error}") from error


def weights_line(encoder: nn.Module) -> str:
    """Which weights an encoder of `choose_encoder` has, for a person."""
    if used := weights_used(encoder):
        return f"weights  {used}"
    if isinstance(encoder, LibraryEncoder):
        return (
            f"weights  random ({encoder.made_of}): encoder.weights=<file> reads trained ones; "
            "nothing is downloaded"
        )
    learned = any(True for _ in encoder.parameters())
    return f"weights  {'random' if learned else 'none'} ({type(encoder).__name__})"


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

"""What is remembered of a network: the file its weights are from, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfsup_motion.models.libraries.base import LibraryEncoder
from selfsup_motion.weights.nodes import build_node

_REPORT = "_load_report"
_NODE = "_encoder_node"
_USED = "_weights_used"


@dataclass(frozen=True)
class WeightsUsed:
    """Which weights a module has been given.

    Attributes:
        path: the file.
        kind: what it holds: the class of a run's method, or a kind of published file.
        key: of the weights in the file, if one was named.
        experiment: of the run; None for a published file.
        step: optimiser steps of the run; None for a published file.
    """

    path: Path
    kind: str
    key: str | None = None
    experiment: str | None = None
    step: int | None = None

    def __str__(self) -> str:
        key = "" if self.key is None else f", key {self.key}"
        run = "" if self.step is None else f", experiment {self.experiment}, step {self.step}"
        return f"{self.path} ({self.kind}{key}{run})"

    def summary(self) -> dict[str, Any]:
        """For `summary.json`; the path is absolute."""
        return {**vars(self), "path": str(self.path.resolve())}


def remember(module: nn.Module, used: WeightsUsed, report: str) -> None:
    """Note what a module was given: for `weights_used` and `load_report`."""
    vars(module)[_USED] = used
    vars(module)[_REPORT] = report


def remember_node(encoder: nn.Module, node: Any, trusted: Any) -> None:
    """Note what an encoder was made from: for `untrained_copy` and `made_from`."""
    vars(encoder)[_NODE] = node, trusted


def untrained_copy(encoder: nn.Module, seed: int) -> nn.Module | None:
    """An encoder as one of `load_encoder` was before training, on the CPU, in evaluation mode.

    Args:
        encoder: of any origin.
        seed: of its random weights; the random state is as before afterwards.

    Returns:
        None if the encoder has no weights of a file, or nothing to learn.
    """
    node, trusted = vars(encoder).get(_NODE, (None, ()))
    if node is None or weights_used(encoder) is None or not any(True for _ in encoder.parameters()):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = build_node(node, "encoder", Path(), trusted)
    return made.eval()


def note_origin(encoder: nn.Module, node: Mapping[str, Any]) -> None:
    """Remember of a network of another library where its weights are from, and how to make it
    again: for `weights_used`, `load_report`, `untrained_copy` and `made_from`.

    Args:
        encoder: any; others than a `LibraryEncoder` have nothing to remember.
        node: that it was made from, plain values.
    """
    if not isinstance(encoder, LibraryEncoder):
        return
    again = {**node, **encoder.own_settings(), **dict.fromkeys(encoder.only_to_start)}
    remember_node(encoder, again, None)
    if encoder.weights_file is not None:
        key = node.get("weights_key")
        used = WeightsUsed(Path(encoder.weights_file), encoder.made_of, key)
        remember(encoder, used, encoder.weights_report)


def made_from(encoder: nn.Module) -> dict[str, Any] | None:
    """The config that makes an encoder of `load_encoder` or `choose_encoder` again, without its
    weights; None of others."""
    node = vars(encoder).get(_NODE, (None, ()))[0]
    return dict(node) if isinstance(node, dict) else None


def load_report(module: nn.Module) -> str:
    """What `load_encoder` or `load_method` took from which file, and what it left there."""
    return str(vars(module).get(_REPORT, "no file: the weights it was made with"))


def weights_used(module: nn.Module) -> WeightsUsed | None:
    """What `load_encoder` or `load_method` gave a module; None if it was not loaded by them."""
    used = vars(module).get(_USED)
    return used if isinstance(used, WeightsUsed) else None

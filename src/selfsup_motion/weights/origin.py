"""What a checkpoint says about how its method was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl

from selfsup_motion import __version__
from selfsup_motion.weights.contents import KEY


def origin(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entry for a method that was built from a config, plain values."""
    return {"version": __version__, "experiment": config["experiment"], "config": dict(config)}


def sign(method: pl.LightningModule, config: Mapping[str, Any]) -> None:
    """Let every checkpoint that a trainer writes of a method hold its config.

    Args:
        method: that was built from the config.
        config: resolved, plain values.
    """
    # on the object: whatever its class does there is done as well
    vars(method)["on_save_checkpoint"] = partial(_add, method.on_save_checkpoint, origin(config))


def _add(
    own: Callable[[dict[str, Any]], None], entry: Mapping[str, Any], checkpoint: dict[str, Any]
) -> None:
    own(checkpoint)
    checkpoint[KEY] = dict(entry)

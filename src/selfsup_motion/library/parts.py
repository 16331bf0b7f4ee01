"""Encoders and propagators by the names that they have in the config."""

from __future__ import annotations

from typing import Any

from torch import nn

from selfsup_motion.errors import UserError
from selfsup_motion.library.configs import chosen
from selfsup_motion.settings.build import build
from selfsup_motion.settings.groups import options
from selfsup_motion.tasks.propagation.choice import preset_names, settings_of
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.weights.nodes import plain
from selfsup_motion.weights.used import note_origin


def encoder(name: str, /, **settings: Any) -> nn.Module:
    """An encoder with random weights, or those of `weights=file`, in training mode.

    Its attributes `input_mean` and `input_std` are what RGB in [0, 255] is to be normalised with.

    Args:
        name: one of `conf/encoder`: "resnet18", "corrflow_resnet18", "r2p1d10", …; "timm",
            "transformers" and "torchvision" for any network of these libraries.
        settings: arguments of its constructor, instead of those in the file: `width=32`. Of another
            library's network the first is its name there, `name="vit_small_patch16_224.dino"`.

    Raises:
        UserError: there is no such encoder or argument, or a value does not fit.
    """
    node = chosen("encoder", name, settings)
    made: nn.Module = build(node, "encoder")
    note_origin(made, plain({"encoder": node})["encoder"])
    return made


def propagator(name: str, **settings: Any) -> LabelPropagator:
    """What carries labels through a video, with the settings of a paper.

    Args:
        name: one of `conf/propagator`: "corrflow", "mast", "crw", "dense_ulearn", "cosine" (for
            learned features in general) or "color".
        settings: arguments of `LabelPropagator`, instead of those in the file: `top_k=5`.

    Raises:
        UserError: there is no such propagator or argument, or a value does not fit.
    """
    if name in options("propagator") and name not in preset_names():
        raise UserError(
            f"propagator={name} chooses among the others, which evaluate and propagate do; here, "
            f"name one of {', '.join(preset_names())}."
        )
    node = chosen("propagator", name, settings)
    try:
        made = LabelPropagator(**settings_of(node))
    except ValueError as error:
        raise UserError(f"{error}.") from error
    made.name = name
    return made

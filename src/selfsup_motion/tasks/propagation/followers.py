"""What follows labels in a benchmark: the encoder that is evaluated, and what it has to beat."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import LabColor, NoMotion
from selfsup_motion.settings.build import build
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder, Precision
from selfsup_motion.tasks.propagation.choice import (
    Auto,
    EveryPropagator,
    FittingPropagator,
    Propagation,
    composed,
    fitted,
    preset,
    settings_of,
)
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.shared_features import SharedFrameEncoder
from selfsup_motion.weights.used import untrained_copy

log = logging.getLogger(__name__)

Baseline = Literal["identity", "raw_color", "untrained"]


@dataclass(frozen=True)
class Follower:
    """An encoder with its propagation.

    Attributes:
        name: "" for the one that is evaluated, else the baseline's or the preset's.
        encoder: makes the features.
        propagation: copies the labels.
        folder: for its results.
    """

    name: str
    encoder: FrameEncoder
    propagation: Propagation
    folder: Path

    @property
    def stays(self) -> bool:
        """Whether it leaves the labels where they are, so that there is nothing to compute."""
        return self.propagation.propagator is None


def make_followers(
    encoder: nn.Module,
    propagator: LabelPropagator | FittingPropagator | EveryPropagator,
    wanted: Sequence[Baseline],
    *,
    layer: str | None,
    precision: Precision,
    device: str,
    folder: Path,
    seed: int,
    short_side: int | Auto | None = "auto",
    compares: bool = False,
) -> list[Follower]:
    """The follower that is evaluated, then what it has to beat; says which propagation was chosen.

    If the task `compares` propagations: of `EveryPropagator`, the one that fits the encoder is
    evaluated; the others follow it, with the same encoder and `presets/<name>` for their results.

    Arguments and errors as of `evaluated_follower` and `baselines`.
    """
    every, one = None, propagator
    if compares and isinstance(one, EveryPropagator):
        every, one = one, FittingPropagator()
    result = evaluated_follower(
        encoder, one,
        layer=layer, precision=precision, device=device, folder=folder, short_side=short_side,
    )  # fmt: skip
    log.info("Propagation: %s.", result.propagation)
    beside = baselines(
        wanted, result, layer=layer, precision=precision, seed=seed, short_side=short_side
    )
    if every is None or result.stays:
        return [result, *beside]
    shared = SharedFrameEncoder(encoder, layer, precision).to(device)
    result = replace(result, encoder=shared)
    others = []
    for name in every.names:
        found = result.propagation.propagator
        if found is not None and name != found.name:
            made = LabelPropagator(**preset(name))
            made.name = name
            propagation = fitted(made, encoder, layer, shared.stride, short_side)
            others.append(Follower(name, shared, propagation, folder / "presets" / name))
    return [result, *others, *beside]


def evaluated_follower(
    encoder: nn.Module,
    propagator: LabelPropagator | FittingPropagator | EveryPropagator,
    *,
    layer: str | None,
    precision: Precision,
    device: str,
    folder: Path,
    key: str = "task.layer",
    short_side: int | Auto | None = "auto",
) -> Follower:
    """The follower that is evaluated.

    Args:
        encoder: see `FrameEncoder`.
        propagator: see `fitted`.
        layer: see `FrameEncoder`.
        precision: see `FrameEncoder`.
        device: to compute on.
        folder: for its results.
        key: of the layer in the config, for messages.
        short_side: see `fitted`.

    Raises:
        UserError: an encoder of clips, without such a layer, or without a normalisation.
    """
    try:
        frames = FrameEncoder(encoder, layer, precision).to(device)
    except ValueError as error:
        raise UserError(f"{key}: {error}.") from error
    propagation = fitted(propagator, encoder, layer, frames.stride, short_side)
    return Follower("", frames, propagation, folder)


def baselines(
    wanted: Sequence[Baseline],
    result: Follower,
    *,
    layer: str | None,
    precision: Precision,
    seed: int,
    short_side: int | Auto | None = "auto",
) -> list[Follower]:
    """What a result has to beat, with `baselines/<name>` below its folder for theirs.

    Args:
        wanted: "identity": the labels of the first frame stay where they are; "raw_color": the
            colours of the pixels, as `encoder=lab_color`; "untrained": the encoder before training,
            propagated alike. One that is the result itself is left out.
        result: the one that is evaluated.
        layer: of the untrained encoder, see `FrameEncoder`.
        precision: likewise.
        seed: of the untrained encoder's weights.
        short_side: of the frames for raw colours, see `fitted`.
    """
    found = []
    encoder, device = result.encoder.encoder, result.encoder.device
    for name in dict.fromkeys(wanted):
        folder = result.folder / "baselines" / name
        if name == "identity" and not isinstance(encoder, NoMotion):
            found.append(Follower(name, FrameEncoder(NoMotion()), Propagation(None), folder))
        elif name == "raw_color" and not isinstance(encoder, LabColor):
            cfg = composed(["encoder=lab_color"])
            colors = FrameEncoder(build(cfg.encoder, "encoder")).to(device)
            propagator = LabelPropagator(**settings_of(cfg.propagator))
            plain = fitted(propagator, colors.encoder, None, colors.stride, short_side)
            found.append(Follower(name, colors, plain, folder))
        elif name == "untrained" and (copy := untrained_copy(encoder, seed)) is not None:
            frames = FrameEncoder(copy, layer, precision).to(device)
            found.append(Follower(name, frames, result.propagation, folder))
    return found

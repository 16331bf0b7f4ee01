"""Which propagation fits an encoder: the features of each are compared in another way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import ColorPatches, LabColor, NoMotion
from selfsup_motion.ops.attention import Border
from selfsup_motion.ops.attention.layout import Window
from selfsup_motion.settings.completion import completing
from selfsup_motion.settings.groups import config_dir, options
from selfsup_motion.tasks.propagation.propagation_settings import (
    LabelResize,
    MinMax,
    Pixels,
    Starts,
)
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.search import Similarity, Weights
from selfsup_motion.weights.used import weights_used

Auto = Literal["auto"]

_COMPOSING = threading.Lock()
"""Hydra's state is one for the process."""

_FINE, _COARSE, _FINE_STRIDE = "learned", "cosine", 4
"""For learned features in general: up to cells of so many pixels, a frame of 480p has more of them
than matching gains from."""


@dataclass(frozen=True)
class Propagation:
    """A propagator, and where its settings are from.

    Attributes:
        propagator: to follow labels with; None where they stay in their place.
        fits: it was chosen for the encoder.
        changed: settings that were given, whatever was chosen.
    """

    propagator: LabelPropagator | None
    fits: bool = False
    changed: Sequence[str] = ()

    def __str__(self) -> str:
        if self.propagator is None:
            return "none, the first labels stay where they are"
        name = self.propagator.name or "own settings"
        changed = f" with {', '.join(self.changed)} as given" if self.changed else ""
        fits = ", which fits the encoder" if self.fits else ""
        return f"{name}{changed}{fits} ({self.propagator})"

    def at(self, short_side: int | None) -> Propagation:
        """The same with frames of this short side; None: of their own size."""
        if self.propagator is None:
            return self
        resized = self.propagator.changed(short_side=short_side, enlarge=True, frame_size=None)
        return replace(self, propagator=resized)

    def summary(self) -> dict[str, Any]:
        """Name and settings, for `summary.json`."""
        if self.propagator is None:
            return {"name": "none"}
        return {"name": self.propagator.name, **self.propagator.settings}


class FittingPropagator:
    """A propagator whose settings depend on the encoder.

    Colours are compared by their distance; the features of CorrFlow by the dot product that it was
    trained with; those of other networks by their cosine.

    Args:
        colors: preset (of `conf/propagator`) for the colours of cells.
        patches: preset for the colours of patches.
        corrflow: preset for the output of a network that CorrFlow has trained.
        learned: preset for all other networks; None: "learned", which reduces large frames, if
            their cells are at most 4 pixels large, else "cosine".
        long_term: this and all that follow: see `PropagationSettings`; "auto" leaves them to the
            preset.
        recent: see above.
        repeat_first: see above.
        count_twice: see above.
        predict_first: see above.
        radius: see above.
        window: see above.
        long_term_radius: see above.
        far_gap: see above.
        far_radius: see above.
        similarity: see above.
        temperature: see above.
        top_k: see above.
        top_k_per: see above.
        weights: see above.
        border: see above.
        hard: see above.
        label_resize: see above.
        min_max: see above.
        pixels: see above.
        starts: see above.
        target_weight: see above.
        storage: see above.
        short_side: see above.
        enlarge: see above.
        long_side_multiple: see above.
        frame_size: see above.
        more_scales: see above.

    Raises:
        UserError: there is no preset of that name.
        ValueError: a setting that no preset allows.
    """

    def __init__(
        self,
        *,
        colors: str = "color",
        patches: str = "patches",
        corrflow: str = "corrflow",
        learned: str | None = None,
        long_term: Sequence[int] | Auto = "auto",
        recent: int | Sequence[int] | Auto = "auto",
        repeat_first: bool | Auto = "auto",
        count_twice: bool | Auto = "auto",
        predict_first: bool | Auto = "auto",
        radius: int | Auto | None = "auto",
        window: Window | Auto = "auto",
        long_term_radius: int | Auto | None = "auto",
        far_gap: int | Auto | None = "auto",
        far_radius: int | Auto = "auto",
        similarity: Similarity | Auto = "auto",
        temperature: float | Auto = "auto",
        top_k: int | Auto | None = "auto",
        top_k_per: Literal["context", "frame"] | Auto = "auto",
        weights: Weights | Auto = "auto",
        border: Border | Auto = "auto",
        hard: bool | Auto = "auto",
        label_resize: LabelResize | Auto = "auto",
        min_max: MinMax | Auto | None = "auto",
        pixels: Pixels | Auto = "auto",
        starts: Starts | Auto = "auto",
        target_weight: float | Auto = "auto",
        storage: Literal["32", "16"] | Auto = "auto",
        short_side: int | Auto | None = "auto",
        enlarge: bool | Auto = "auto",
        long_side_multiple: int | Auto = "auto",
        frame_size: Sequence[int] | Auto | None = "auto",
        more_scales: Sequence[float] | Auto = "auto",
    ) -> None:
        settings: dict[str, Any] = {
            "long_term": long_term, "recent": recent, "repeat_first": repeat_first,
            "count_twice": count_twice, "predict_first": predict_first, "radius": radius,
            "window": window, "long_term_radius": long_term_radius, "far_gap": far_gap,
            "far_radius": far_radius, "similarity": similarity, "temperature": temperature,
            "top_k": top_k, "top_k_per": top_k_per, "weights": weights, "border": border,
            "hard": hard, "label_resize": label_resize, "min_max": min_max, "pixels": pixels,
            "starts": starts, "target_weight": target_weight, "storage": storage,
            "short_side": short_side, "enlarge": enlarge,
            "long_side_multiple": long_side_multiple, "frame_size": frame_size,
            "more_scales": more_scales,
        }  # fmt: skip
        self._given = {name: value for name, value in settings.items() if value != "auto"}
        self._colors, self._patches = colors, patches
        self._corrflow, self._learned = corrflow, learned
        named = {"colors": colors, "patches": patches, "corrflow": corrflow, "learned": learned}
        known = preset_names()
        for key, name in named.items():
            if name is not None and name not in known:
                raise UserError(f"propagator.{key}={name}: expected one of {', '.join(known)}.")
        if self._given:
            self._made(learned or _FINE)  # refuses what is wrong before an encoder is read

    def fit(self, encoder: nn.Module, layer: str | None, stride: int) -> Propagation:
        """The propagator for an encoder.

        Args:
            encoder: as `load_encoder` gives it, or one without weights.
            layer: whose features are compared; None: the output.
            stride: pixels per cell of the features.
        """
        name = self._learned or (_FINE if stride <= _FINE_STRIDE else _COARSE)
        if isinstance(encoder, LabColor):
            name = self._colors
        elif isinstance(encoder, ColorPatches):
            name = self._patches
        elif layer is None and (used := weights_used(encoder)) and used.kind.startswith("CorrFlow"):
            name = self._corrflow
        return Propagation(self._made(name), True, list(self._given))

    def _made(self, name: str) -> LabelPropagator:
        made = LabelPropagator(**{**preset(name), **self._given})
        made.name = name
        return made


class EveryPropagator:
    """All of several presets, to see how much a result depends on the propagation.

    Args:
        names: presets (of `conf/propagator`).

    Raises:
        UserError: there is no preset of that name.
    """

    def __init__(self, *, names: Sequence[str]) -> None:
        known = preset_names()
        for name in names:
            if name not in known:
                raise UserError(f"propagator.names: {name} is none of {', '.join(known)}.")
        self.names = list(dict.fromkeys(names))


def fitted(
    propagator: LabelPropagator | FittingPropagator | EveryPropagator,
    encoder: nn.Module,
    layer: str | None,
    stride: int,
    short_side: int | Auto | None = "auto",
) -> Propagation:
    """What an encoder is followed with.

    Args:
        propagator: the given one, or what chooses one.
        encoder: see `FittingPropagator.fit`.
        layer: likewise.
        stride: likewise.
        short_side: that frames are resized to; None: they keep their size; "auto": as the
            propagator has it.

    Raises:
        UserError: settings that do not go together.
    """
    if isinstance(encoder, NoMotion):
        return Propagation(None)
    if isinstance(propagator, EveryPropagator):
        raise UserError(
            "propagator=all compares propagations, which task=davis2017 can do; name one of them, "
            "or leave it out for the one that fits the encoder."
        )
    try:
        if isinstance(propagator, LabelPropagator):
            found = Propagation(propagator)
        else:
            found = propagator.fit(encoder, layer, stride)
        return found if short_side == "auto" else found.at(short_side)
    except ValueError as error:
        raise UserError(f"{error}.") from error


@runtime_checkable
class FollowsLabels(Protocol):
    """A task or an application that follows labels."""

    propagator: LabelPropagator | FittingPropagator | EveryPropagator


def name_preset(job: object) -> None:
    """Let the propagator of a job that follows labels know which option of `propagator=` it was
    made from."""
    if not isinstance(job, FollowsLabels) or not HydraConfig.initialized():
        return
    if isinstance(propagator := job.propagator, LabelPropagator):
        propagator.name = HydraConfig.get().runtime.choices.get("propagator")


def preset_names() -> list[str]:
    """Those that are settings of `LabelPropagator`; the others choose among them."""
    chooses = ("auto", "all")
    return [option for option in options("propagator") if not option.startswith(chooses)]


def preset(name: str) -> dict[str, Any]:
    """The arguments of `LabelPropagator` in `conf/propagator/<name>.yaml`."""
    return settings_of(composed([f"propagator={name}"]).propagator)


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config of `evaluate` for these overrides; an application of Hydra may be running. May be
    called in several threads at once."""
    with _COMPOSING:
        application = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with completing(), hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
                return hydra.compose("evaluate", list(overrides))
        finally:
            GlobalHydra.instance().hydra = application


def settings_of(node: DictConfig) -> dict[str, Any]:
    """The arguments of `LabelPropagator` in a node of the config."""
    settings = OmegaConf.to_container(node)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items() if key != "_target_"}

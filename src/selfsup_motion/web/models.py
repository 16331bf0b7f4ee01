"""The models that a page can choose from, and those that are in memory."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import OmegaConf

from selfsup_motion.apps.activation import load_mosi
from selfsup_motion.errors import UserError
from selfsup_motion.methods.mosi.network import MoSINetwork
from selfsup_motion.settings.build import build
from selfsup_motion.settings.trust import Trust
from selfsup_motion.tasks.propagation.choice import composed
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.weights.checkpoints import load_encoder
from selfsup_motion.weights.choice import chosen_checkpoint
from selfsup_motion.weights.contents import KEY, method_name, read_checkpoint
from selfsup_motion.weights.run_folders import checkpoint_in, newest_first, runs_below
from selfsup_motion.weights.shipped import CORRESPONDENCE, shipped
from selfsup_motion.weights.trained_cmp import Weights, load_weights

T = TypeVar("T")

_MOST_RUNS = 100
_KEPT = 4
"""Models in memory at the same time."""

COLOR_PATCHES = "color_patches"
"""An encoder without weights, which learned ones have to beat."""

_WANTS_ARROWS = ("move", "annotate")
_WANTS_IMAGES = ("follow", "inspect")
_WANTS_CLIPS = ("inspect.motion",)
"""A part of a tab that takes other models than the rest of it."""
_TABS = (*_WANTS_ARROWS, *_WANTS_IMAGES, *_WANTS_CLIPS)


@dataclass(frozen=True)
class Offered:
    """A model that the page may choose.

    Attributes:
        name: what the page calls it.
        label: what a person reads.
        about: a sentence more.
        checkpoint: what `checkpoint=` of the commands takes; empty: there is none (colour patches).
        unfit: for each tab, or part of one, that cannot use it, the reason.
    """

    name: str
    label: str
    about: str
    checkpoint: str
    unfit: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """What the page may know."""
        return {
            "name": self.name,
            "label": self.label,
            "about": self.about,
            "unfit": dict(self.unfit),
            "preferred": self.name in (CORRESPONDENCE, COLOR_PATCHES),
        }


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A model in memory.

    Attributes:
        value: the model.
        lock: to be held while it computes; not longer than a step, others wait.
        serial: another one for each that was loaded.
    """

    value: T
    lock: threading.Lock
    serial: int


class Models:
    """The shipped ones, the one of `checkpoint=`, and the runs below a folder."""

    def __init__(self, checkpoint: str | None, runs: Path, trust: Trust, device: str) -> None:
        """Describe them; nothing is read yet.

        Args:
            checkpoint: one more: a run folder or a file.
            runs: folder below which runs are looked for.
            trust: packages of the user's own that checkpoints may use.
            device: to put models on.
        """
        self._checkpoint, self._runs, self._trust, self._device = checkpoint, runs, trust, device
        self._last: dict[str, Offered] = {}
        self._kinds: dict[tuple[Path, int], tuple[str, Mapping[str, str]]] = {}
        self._loaded: OrderedDict[tuple[str, str], Loaded[Any]] = OrderedDict()
        self._lock = threading.RLock()
        self._serials = itertools.count()

    @property
    def device(self) -> str:
        """That models are on."""
        return self._device

    @property
    def runs(self) -> Path:
        """The folder below which runs are looked for."""
        return self._runs

    def offered(self) -> list[Offered]:
        """All of them: the given one, the shipped ones, colour patches, the newest runs."""
        found = []
        if self._checkpoint is not None:
            path = Path(self._checkpoint)
            found.append(self._described("given", path.name, self._checkpoint))
        found += [self._described(n, n, n, about=m.about) for n, m in shipped().items()]
        found.append(_color_patches())
        runs = newest_first(runs_below(self._runs)) if self._runs.is_dir() else []
        for run in runs[:_MOST_RUNS]:
            name = run.relative_to(self._runs).as_posix()
            found.append(self._described(f"run:{name}", name, str(run)))
        self._last = {model.name: model for model in found}
        return found

    def find(self, name: str, tab: str) -> Offered:
        """The model that a page names.

        Raises:
            Refusal: there is none, or it does not fit the tab.
        """
        if name not in self._last:  # nobody has looked yet, or the run is new
            self.offered()
        model = self._last.get(name)
        if model is None:
            raise Refusal("There is no such model any more; reload the page.", 404)
        if tab in model.unfit:
            raise Refusal(f"{model.label} {model.unfit[tab]}")
        return model

    def cmp(self, name: str, tab: str = "move") -> Loaded[Weights]:
        """A CMP, loaded when it is first asked for.

        Raises:
            UserError: no such model, or its checkpoint cannot be used.
        """

        def load(checkpoint: str) -> Weights:
            return load_weights(checkpoint, self._device, None, self._trust)

        return self._get(name, tab, "cmp", load)

    def encoder(self, name: str, tab: str) -> Loaded[Any]:
        """An encoder (`nn.Module`), loaded when it is first asked for.

        Raises:
            UserError: no such model, or its checkpoint cannot be used.
        """

        def load(checkpoint: str) -> Any:
            encoder: Any
            if checkpoint:
                encoder = load_encoder(checkpoint, trust=self._trust)
            else:
                encoder = build(composed([f"encoder={COLOR_PATCHES}"]).encoder, "encoder")
            return encoder.to(self._device).eval().requires_grad_(False)

        return self._get(name, tab, "encoder", load)

    def mosi(self, name: str, tab: str) -> Loaded[tuple[MoSINetwork, int]]:
        """A MoSI and the short side of the images it was trained on, loaded likewise.

        Raises:
            UserError: no such model, or its checkpoint cannot be used.
        """

        def load(checkpoint: str) -> tuple[MoSINetwork, int]:
            path = chosen_checkpoint(checkpoint, "MoSI")
            network, side = load_mosi(path, self._device, None, self._trust)
            network.requires_grad_(False)
            return network, side

        return self._get(name, tab, "mosi", load)

    def _get(self, name: str, tab: str, role: str, load: Callable[[str], T]) -> Loaded[T]:
        model = self.find(name, tab)
        key = (model.checkpoint, role)
        with self._lock:
            if key not in self._loaded:
                value = load(model.checkpoint)
                self._loaded[key] = Loaded(value, threading.Lock(), next(self._serials))
                while len(self._loaded) > _KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def _described(self, name: str, label: str, checkpoint: str, about: str = "") -> Offered:
        try:
            kind, unfit = self._kind(checkpoint)
        except UserError as error:
            kind, unfit = "", dict.fromkeys(_TABS, f"cannot be read: {error}")
        label = f"{label} ({kind})" if kind and kind.lower() != label.lower() else label
        return Offered(name, label, about, checkpoint, unfit)

    def _kind(self, checkpoint: str) -> tuple[str, Mapping[str, str]]:
        """The method of a checkpoint, and which tabs it does not fit."""
        file = chosen_checkpoint(checkpoint, "CMP")
        key = (file, file.stat().st_mtime_ns)
        if key not in self._kinds:
            config = _config(Path(checkpoint), file)
            # one that is not of ours (the authors' own) is only known once it is loaded
            self._kinds[key] = ("", {}) if config is None else _fits(config)
        return self._kinds[key]


def _color_patches() -> Offered:
    unfit = dict.fromkeys(
        (*_WANTS_ARROWS, *_WANTS_CLIPS), "compares colours and has learned nothing."
    )
    return Offered(
        COLOR_PATCHES, "colour patches", "Compares colours, without a network.", "", unfit
    )


def _config(run: Path, file: Path) -> Mapping[str, Any] | None:
    """What a run was made of; None if the file does not say."""
    written = run / "config.yaml"
    if written.is_file() and checkpoint_in(run) == file:
        with contextlib.suppress(Exception):  # whatever somebody has made of it
            config: Any = OmegaConf.to_container(OmegaConf.load(written))
            return config if isinstance(config, dict) else None
    try:
        content: Mapping[str, Any] = read_checkpoint(file)[KEY]["config"]
    except UserError:
        return None
    return content


def _fits(config: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    method = method_name(config) or "network"
    unfit = {}
    if method != "CMP":
        for tab in _WANTS_ARROWS:
            unfit[tab] = f"is a {method}; only CMP follows arrows and clicks."
    if _sees(config) == "clip":
        for tab in _WANTS_IMAGES:
            unfit[tab] = f"is a {method}, which sees clips; this needs an encoder of images."
    if method != "MoSI":
        for tab in _WANTS_CLIPS:
            unfit[tab] = f"is a {method}; only MoSI tells motions of clips apart."
    return method, unfit


def _sees(config: Mapping[str, Any]) -> str:
    """ "clip" or "image"; an encoder that does not say is one of images."""
    for node in (config.get("encoder"), (config.get("method") or {}).get("encoder")):
        target = node.get("_target_") if isinstance(node, Mapping) else None
        if not isinstance(target, str) or not target.startswith("selfsup_motion."):
            continue
        module, _, name = target.rpartition(".")
        with contextlib.suppress(ImportError, AttributeError):
            return str(getattr(getattr(import_module(module), name), "sees", "image"))
    return "image"


@contextlib.contextmanager
def computing(*models: Loaded[Any]) -> Iterator[None]:
    """In the block, this thread alone computes with these models."""
    with contextlib.ExitStack() as stack:
        for model in sorted(models, key=lambda model: model.serial):
            stack.enter_context(model.lock)
        yield

"""What a method offers besides its training, with defaults; plain LightningModules do as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import nn

Figure = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Report = tuple[list[str], list[list[str]]]
"""Names of the columns, and the rows."""


class Method(pl.LightningModule):
    """A network and how it is trained, made of explicit arguments.

    Attributes:
        encoder: the part that transfers.
        encoder_settings: arguments that the method sets in its encoder, whatever that was made
            with; `load_encoder` sets them too.
        fixed_shapes: all training steps see tensors of the same shapes.
    """

    encoder: nn.Module
    encoder_settings: ClassVar[Mapping[str, Any]] = {}
    fixed_shapes: ClassVar[bool] = True

    def figures(self, batch: dict[str, Any]) -> dict[str, Figure]:
        """Pictures of what the method does with validation clips, by name; none by default."""
        return {}

    def report(self, metrics: Mapping[str, float]) -> Report:
        """The table at the end of a run; by default all metrics of the validation.

        Args:
            metrics: of a validation, `val/…`, and before training, `untrained/…`.
        """
        return metrics_table(metrics)


@runtime_checkable
class DrawsFigures(Protocol):
    """A LightningModule with `Method.figures`."""

    def figures(self, batch: dict[str, Any]) -> dict[str, Figure]:
        """See `Method.figures`."""
        ...


@runtime_checkable
class Reports(Protocol):
    """A LightningModule with `Method.report`."""

    def report(self, metrics: Mapping[str, float]) -> Report:
        """See `Method.report`."""
        ...


@runtime_checkable
class HasEncoder(Protocol):
    """A LightningModule with `Method.encoder`."""

    encoder: nn.Module


def figures_of(method: pl.LightningModule, batch: dict[str, Any]) -> dict[str, Figure]:
    """What a method draws; nothing if it does not draw."""
    return method.figures(batch) if isinstance(method, DrawsFigures) else {}


def report_of(method: pl.LightningModule, metrics: Mapping[str, float]) -> Report:
    """A method's closing table; all metrics of the validation if it has none of its own."""
    return method.report(metrics) if isinstance(method, Reports) else metrics_table(metrics)


def encoder_of(method: pl.LightningModule) -> nn.Module | None:
    """The part of a method that transfers; None if it does not say."""
    if isinstance(method, HasEncoder) and isinstance(method.encoder, nn.Module):
        return method.encoder
    return None


def sees_fixed_shapes(method: pl.LightningModule) -> bool:
    """Whether its training steps see tensors of the same shapes; so they do if it does not say."""
    return bool(getattr(method, "fixed_shapes", True))


def metrics_table(metrics: Mapping[str, float]) -> Report:
    """All metrics `val/…`, with those of the untrained network if they were measured."""
    names = sorted(name.removeprefix("val/") for name in metrics if name.startswith("val/"))
    before = any(f"untrained/{name}" in metrics for name in names)
    columns = ["metric", *(["untrained"] if before else []), "trained"]
    rows = []
    for name in names:
        values = [metrics.get(f"untrained/{name}")] if before else []
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        rows.append([name, *cells, f"{metrics[f'val/{name}']:.4g}"])
    return columns, rows

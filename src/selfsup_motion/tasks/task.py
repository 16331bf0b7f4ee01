"""What every task with frozen weights offers: what it needs, how it is run, what it can show."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

from torch import nn

from selfsup_motion.ops.draw import Image
from selfsup_motion.text.progress import OnProgress


class Needs(TypedDict):
    """What a task needs; written as a literal, so that it is known before anything is imported."""

    labels: str | None
    """The part of a data set's config that it reads: "sequences", "actions", …; None: none."""
    encoder: Literal["image", "clip", "cmp", "any"]
    """What its encoder sees; "cmp": `run` gets a whole trained CMP in its place."""


class Task(ABC):
    """Scores frozen weights: `evaluate` builds it, runs it and prints its metrics.

    A task that trains is a `methods.method.Method` instead, with `needs` as well.

    Attributes:
        needs: labels and encoder.
        unit: what the progress of `run` is counted in, in the plural.
        draws: whether `tracked` and `pictures` have something to show (`overlay=true`).
        beside: metrics of the baselines by their names, after `run`.
        lower_is_better: whether its headline metric is an error.
    """

    needs: ClassVar[Needs] = {"labels": None, "encoder": "any"}
    unit: ClassVar[str] = "frames"
    draws: ClassVar[bool] = False
    beside: Mapping[str, dict[str, float]] = {}
    lower_is_better: ClassVar[bool] = False

    @abstractmethod
    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """Do all of it.

        Args:
            encoder: see `models.encoder.Encoder`.
            folder: gets predictions, in the benchmark's own format, and tables.
            device: to compute on.
            reuse: take over the results that the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            The metrics; without those that cannot be measured.

        Raises:
            UserError: a file is missing or wrong, or the encoder is of another kind.
        """

    def summary(self) -> dict[str, Any]:
        """What `summary.json` tells besides, as plain data, after `run`."""
        return {}

    def tracked(self, folder: Path) -> list[str]:
        """Names of what `folder` has results of that can be shown."""
        return []

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames of one of them with what was found, (H, W, 3) uint8."""
        yield from ()

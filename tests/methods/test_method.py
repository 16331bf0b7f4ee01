"""What a method has by default, and what is asked of those that are not derived from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from torch import nn

from selfsup_motion.methods.cmp import CMP
from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.methods.method import Method, encoder_of, figures_of, report_of
from selfsup_motion.methods.mosi import MoSI
from selfsup_motion.tasks.actions.finetuning import ActionFinetuning
from selfsup_motion.tasks.instances.method import InstanceSegmentation
from selfsup_motion.tasks.segmentation.method import Segmentation

METRICS = {"val/loss": 0.25, "train/loss": 1.0, "untrained/loss": 2.0, "val/new": 1e-7}
TABLE = (["metric", "untrained", "trained"], [["loss", "2", "0.25"], ["new", "", "1e-07"]])


class Least(Method):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()


class Drawing(pl.LightningModule):
    """Somebody's own, derived from nothing of ours."""

    def figures(self, batch: Any) -> dict[str, np.ndarray]:
        return {"x": batch["x"]}

    def report(self, metrics: Any) -> Any:
        return ["a"], [[f"{metrics['val/loss']:.1f}"]]


def test_figures_and_report_have_defaults() -> None:
    least = Least()
    assert figures_of(least, {}) == {}
    assert report_of(least, METRICS) == TABLE
    assert encoder_of(least) is least.encoder
    assert least.encoder_settings == {}


def test_a_plain_module_trains_without_them() -> None:
    plain = pl.LightningModule()
    assert figures_of(plain, {}) == {}
    assert report_of(plain, METRICS) == TABLE
    assert encoder_of(plain) is None
    without = {name: value for name, value in METRICS.items() if not name.startswith("untrained")}
    assert report_of(plain, without) == (
        ["metric", "trained"], [["loss", "0.25"], ["new", "1e-07"]],
    )  # fmt: skip


def test_a_plain_module_that_draws_and_reports_is_asked() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    assert figures_of(Drawing(), {"x": image})["x"] is image
    assert report_of(Drawing(), METRICS) == (["a"], [["0.2"]])


@pytest.mark.parametrize(
    "kind", [CMP, CorrFlow, MoSI, Segmentation, ActionFinetuning, InstanceSegmentation]
)
def test_all_that_train_are_methods(kind: type) -> None:
    assert issubclass(kind, Method)

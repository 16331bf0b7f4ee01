"""Joints of animals against numbers of PIPs' evaluation of DINO on BADJA."""

import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from selfsup_motion.tasks.propagation.badja_metrics import follow_joints, pck_t
from selfsup_motion.tasks.propagation.choice import preset
from selfsup_motion.tasks.propagation.propagator import LabelPropagator

SIZE = (320, 512)


class Given(nn.Module):
    """Stands for an encoder whose features are known, one frame after the other."""

    stride = 8
    device = torch.device("cpu")

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.rest = iter(features)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return next(self.rest)[None]


@pytest.fixture
def features(shared, monkeypatch):
    """(5, 8, 40, 64) by the published formula."""
    monkeypatch.setattr(sys, "path", [str(shared / "golden/corrflow"), *sys.path])
    from golden_fill import tensor

    base = np.asarray(tensor((1, 8, 48, 80), 1801))
    noise = np.asarray(tensor((5, 8, 40, 64), 1802))
    parts = [base[0, :, s : s + 40, 2 * s : 2 * s + 64] + 0.3 * noise[s] for s in range(5)]
    return torch.from_numpy(np.stack(parts)).float()


def test_joints_and_pck_equal_the_published_ones(golden, features):
    published = golden("correspondence/badja_pck.npz")
    assert float(features.double().sum()) == pytest.approx(float(published["feats_sum"]), abs=1e-3)
    truth = published["trajs_xy"].astype(np.float64) * [512 / 192, 320 / 108]
    propagator = LabelPropagator(**preset("badja"))
    frames = np.zeros((5, 3, *SIZE), np.uint8)
    found = np.stack(list(follow_joints(Given(features), propagator, frames, truth[0])))
    np.testing.assert_allclose(found, published["pred_xy_512x320"], rtol=0, atol=1e-3)
    masks = [cv2.resize(m, SIZE[::-1], interpolation=cv2.INTER_NEAREST) for m in published["seg"]]
    areas = np.array([float((mask > 0).sum()) for mask in masks])
    score = pck_t(found, truth, published["visible"] > 0, areas)
    assert score == pytest.approx(float(published["pck"]), abs=1e-5)

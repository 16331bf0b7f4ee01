"""Mean IoU of VIP against numbers of the official evaluation."""

import numpy as np
import pytest
import torch

from selfsup_motion.ops.confusion import class_iou
from selfsup_motion.tasks.propagation.vip_metrics import confusion, parsing_scores


def test_scores_equal_the_official_ones(golden):
    official = golden("correspondence/vip_miou.npz")
    matrix = sum(confusion(t, p, 20) for t, p in zip(official["gt"], official["pred"], strict=True))
    np.testing.assert_array_equal(matrix, official["hist"])
    iou = class_iou(torch.from_numpy(matrix)).numpy()
    np.testing.assert_array_equal(np.isnan(iou), np.isnan(official["iou"]))
    np.testing.assert_allclose(iou, official["iou"], rtol=0, atol=1e-15)
    found = parsing_scores(matrix)
    assert found == pytest.approx(
        {
            "miou": official["miou"].item(),
            "pixel_accuracy": official["pixel_acc"].item(),
            "mean_accuracy": official["mean_acc"].item(),
        },
        abs=1e-15,
    )

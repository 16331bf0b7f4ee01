"""Warping equals the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.ops.warp import backward_warp, forward_warp


def test_backward_warp_is_what_the_published_one_meant(golden):
    case = golden("cmp/warp.npz")
    warped = backward_warp(torch.from_numpy(case["image"]), torch.from_numpy(case["flow"]))
    np.testing.assert_allclose(warped, case["bw_align_true"], atol=1e-4)


@pytest.mark.parametrize(
    ("share", "image_key", "hole_key"),
    [
        (1.0, "fw", "fw_hole"),
        (1 / 3, "fw_frame1_of3", "fw_hole1_of3"),
        (2 / 3, "fw_frame2_of3", "fw_hole2_of3"),
    ],
)
def test_forward_warp_equals_the_published_one(share, image_key, hole_key, golden):
    case = golden("cmp/warp.npz")
    image, flow = torch.from_numpy(case["image"]), torch.from_numpy(case["flow"]) * share
    warped, hole = forward_warp(image, flow)
    np.testing.assert_array_equal(hole, case[hole_key] > 0)
    decided = ~has_tied_winners(flow)
    assert decided.float().mean() > 0.5
    np.testing.assert_array_equal((warped * decided)[:, :, :, :], case[image_key] * decided.numpy())


def has_tied_winners(flow: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W): two equally fast pixels land here, so the published result is arbitrary."""
    batch, _, height, width = flow.shape
    tied = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    for b in range(batch):
        fastest: dict[tuple[int, int], list[float]] = {}
        for y in range(height):
            for x in range(width):
                u, v = flow[b, :, y, x].tolist()
                place = (
                    min(max(y + int(v), 0), height - 1),
                    min(max(x + int(u), 0), width - 1),
                )
                fastest.setdefault(place, []).append(float(np.hypot(u, v)))
        for (y, x), speeds in fastest.items():
            speeds.sort()
            tied[b, 0, y, x] = len(speeds) > 1 and speeds[-1] - speeds[-2] < 1e-5
    return tied

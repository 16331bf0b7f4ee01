"""CycleTime's geometry, cycles and losses against the authors' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fills import filled
from torch import Tensor

from selfsup_motion.methods.cycletime.geometry import (
    PUBLISHED_TRANSLATION,
    affinity,
    crop,
    cut_patch,
    grid_distance,
    transformation,
)
from selfsup_motion.methods.cycletime.method import CycleTime
from selfsup_motion.methods.cycletime.tracker import Cycles, Localiser, Tracker
from selfsup_motion.models.undilated_resnet import UndilatedResNet


@pytest.fixture
def arrays(golden) -> dict[str, np.ndarray]:
    return golden("correspondence/timecycle_loss.npz")


def close(ours: Tensor, theirs: np.ndarray, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    expected = torch.from_numpy(np.asarray(theirs)).to(ours.dtype)
    torch.testing.assert_close(ours, expected, rtol=rtol, atol=atol)


def tracker(align_corners: bool) -> Tracker:
    localiser = Localiser(900, 10)
    weights = {
        "convolutions.0.weight": filled((128, 900, 4, 4), 1020) * (6 / 14400) ** 0.5 * 4,
        "convolutions.2.weight": filled((64, 128, 4, 4), 1021) * (6 / 2048) ** 0.5,
        "linear.weight": filled((3, 1024), 1022, -0.1, 0.1),
        "linear.bias": torch.tensor([0.1, -0.2, 0.05]),
    }
    localiser.load_state_dict(weights)
    return Tracker(localiser, 512**-0.5, PUBLISHED_TRANSLATION, align_corners)


def features(arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """Of the patch, the clip (B, T, C, h, w) and the target."""
    names = "f_patch", "f_clip", "f_img"
    patch, clip, target = (F.relu(torch.from_numpy(arrays[n]).float() / 64) for n in names)
    return patch, clip.transpose(1, 2), target


def losses(cycles: Cycles, theta: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
    """Of each long cycle, and the three."""
    truth = torch.from_numpy(theta)
    model = CycleTime(encoder=UndilatedResNet(10, 8, 4, layer4=False), size=84)
    return torch.cat([grid_distance(x, truth) for x in cycles.long]), model.losses(cycles, truth)


def test_transformations_and_their_distance_equal_the_reference(arrays):
    close(transformation(torch.from_numpy(arrays["head_raw"])), arrays["head_theta"])
    pair = (torch.from_numpy(arrays[name]) for name in ("grid_theta", "grid_theta_gt"))
    close(grid_distance(*pair).mean(), arrays["grid_loss"])


@pytest.mark.parametrize("align_corners", [False, True])
def test_crops_of_features_and_patches_of_images_equal_the_reference(arrays, align_corners):
    theta = torch.from_numpy(arrays["head_theta"])
    options = {"translation": PUBLISHED_TRANSLATION, "align_corners": align_corners}
    cropped = crop(torch.from_numpy(arrays["crop_in"]), theta, 10, **options)
    close(cropped, arrays[f"crop_out_ac{align_corners:d}"], atol=1e-5)
    image = torch.from_numpy(arrays["patch_in"])
    patch = cut_patch(image, theta[:1], 20, align_corners=align_corners)
    close(patch, arrays[f"patch_out_ac{align_corners:d}"], atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
def test_cycles_and_losses_equal_the_reference(arrays, align_corners):
    name = f"full_ac{align_corners:d}"
    with torch.no_grad():
        cycles = tracker(align_corners)(*features(arrays))
        each, parts = losses(cycles, arrays["theta_gt"])
    # cycles of one to four frames and back: each step enlarges rounding, which differs by processor
    for frames, (ours, theirs) in enumerate(zip(each, arrays[f"{name}_loss_cycle"], strict=True)):
        close(ours, theirs, rtol=3e-5 * 10**frames)
    close(
        torch.stack([x[0] for x in cycles.long]),
        arrays[f"{name}_forw_thetas"][[0, 2, 5, 9]],
        atol=1e-3,
    )
    close(cycles.skip[0], arrays[f"{name}_trans_out3"], atol=1e-5)
    close(parts["skip"], arrays[f"{name}_loss_skip"])
    close(parts["inlier"], arrays[f"{name}_loss_inlier"])
    total = 0.02 * parts["long"] + 0.1 * parts["skip"] + parts["inlier"]
    close(total, arrays[f"{name}_total"], rtol=1e-4)


def test_affinities_equal_the_reference(arrays):
    patch, clip, _ = features(arrays)
    affinities = affinity(
        F.normalize(patch, dim=1).expand(4, -1, -1, -1), F.normalize(clip[0], dim=1), 512**-0.5
    )
    close(affinities[:, ::45, ::3, ::3], arrays["full_ac1_corr_sub"])


def test_gradients_through_long_cycles_are_as_ill_conditioned_as_the_reference_s(arrays):
    """The published gradient is one of many: changing the patch by a hundred thousandth of its
    values changes its norm several times over. It lies within that range."""
    norms = []
    for seed in range(4):
        patch, clip, target = features(arrays)
        noise = torch.randn(patch.shape, generator=torch.Generator().manual_seed(seed))
        patch = (patch * (1 + 1e-5 * noise)).requires_grad_()
        parts = losses(tracker(True)(patch, clip, target), arrays["theta_gt"])[1]
        total = 0.02 * parts["long"] + 0.1 * parts["skip"] + parts["inlier"]
        norms.append(float(torch.autograd.grad(total, patch)[0].norm()))
    theirs = float(np.linalg.norm(arrays["full_ac1_grad_patch"]))
    assert max(norms) > 1.2 * min(norms)
    assert 0.5 * min(norms) < theirs < 2 * max(norms)


def test_the_published_network_has_as_many_weights():
    encoder = UndilatedResNet(50, 64, 8, "zeros", layer4=False, out_channels=512)
    model = CycleTime(encoder=encoder)
    assert sum(p.numel() for p in model.parameters()) == 11_044_931

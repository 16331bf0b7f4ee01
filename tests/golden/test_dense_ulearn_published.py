"""DenseUlearn's losses, gradients and a whole step against the authors' code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hashing import hashed
from torch import Tensor, nn

from selfsup_motion.methods.dense_ulearn import DenseUlearn
from selfsup_motion.methods.dense_ulearn.objective import (
    dense_ulearn_losses,
    zoom_matrices,
    zoomed,
)
from selfsup_motion.models.resnet import ResNetEncoder


def offsets(draws: np.ndarray, step: int) -> Tensor:
    """Whole draws of the reference → shares of the distance between neighbours, (B, 2)."""
    return torch.from_numpy((draws.T + 0.5) / step).float()


def zoom_of(matrices: np.ndarray) -> Tensor:
    """(B, 2, 3) → what `zoom_matrices` makes them of."""
    scale, flip = matrices[:, 1, 1], np.sign(matrices[:, 0, 0])
    return torch.from_numpy(
        np.stack([scale, flip, matrices[:, 0, 2] * flip, matrices[:, 1, 2]], 1)
    ).float()


def test_losses_and_gradients(golden):
    reference = golden("further/dense_ulearn_loss.npz")
    features = torch.from_numpy(reference["key1"]).unflatten(0, (2, 4)).requires_grad_()
    later = torch.from_numpy(reference["key2"]).unflatten(0, (2, 2)).requires_grad_()
    zoom = zoom_of(reference["affine1"][::3])
    draws = reference["randint_y0_x0"]
    losses = dense_ulearn_losses(
        features[:, :3], features[:, 3], later, zoom, offsets(draws[:2], 4), offsets(draws[2:], 8),
        anchors=4, cross_cells=2,
    )  # fmt: skip
    (losses.temporal + 0.1 * losses.cross_view).backward()
    assert losses.temporal.item() == pytest.approx(float(reference["loss_temp"]), rel=1e-6)
    assert losses.cross_view.item() == pytest.approx(float(reference["loss_cross_key"]), rel=1e-6)
    errors = reference["error_map"].reshape(2, 3, 16, 16)[:, 1:]
    np.testing.assert_allclose(losses.errors.detach(), errors, atol=1e-5)
    np.testing.assert_allclose(features.grad.flatten(0, 1), reference["grad_key1"], atol=1e-6)
    assert later.grad is None  # targets
    assert not reference["grad_key2"].any()


def weights(names: list[str], network: nn.Module) -> dict[str, Tensor]:
    """The reference's deterministic weights, in the order of its names."""
    ours = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    filled = {}
    for salt, (name, (key, value)) in enumerate(zip(names, ours.items(), strict=True)):
        u = hashed(value.numel(), salt).reshape(value.shape)
        if value.ndim == 4:
            u = (2 * u - 1) * math.sqrt(6 / math.prod(value.shape[1:]))
        elif name.endswith("running_mean"):
            u = 0.2 * (2 * u - 1)
        elif name.endswith(("running_var", "weight")):
            u = 0.5 + u
        else:
            u = 0.2 * (2 * u - 1)
        filled[key] = torch.from_numpy(u.astype(np.float32))
    return filled


def test_a_whole_step(golden):
    reference = golden("correspondence/dense_ulearn_full_step.npz")
    salted = 3 * hashed(2 * 3 * 3 * 64 * 64, 1951).reshape(6, 3, 64, 64) - 1.5
    plain = 4 * F.avg_pool2d(torch.from_numpy(salted.astype(np.float32)), 5, 1, 2)
    assert plain.double().sum().item() == pytest.approx(float(reference["plain_sum"]), abs=1e-2)
    plain = plain.unflatten(0, (2, 3))
    zoom = zoom_of(reference["affine_plain"][:, 0])
    np.testing.assert_allclose(zoom_matrices(zoom), reference["affine_plain"][:, 0], atol=1e-6)
    closer = zoomed(plain, zoom)
    np.testing.assert_allclose(closer[..., ::8, ::8], reference["transformed_sub"], atol=1e-4)

    encoder = ResNetEncoder(18, out_channels=None, output_stride=8, dilate=False)
    model = DenseUlearn(encoder=encoder, head_channels=128)
    network = nn.ModuleList([model.encoder, model.head])
    assert sum(p.numel() for p in network.parameters()) == reference["nparams"]
    network.load_state_dict(weights(reference["state_names"].tolist(), network), strict=False)
    draws = reference["draws"]
    # the reference's frames are normalised already
    model.get_buffer("mean").zero_()
    model.get_buffer("std").fill_(1 / 255)
    batch = {
        "frames": plain,
        "zoom": zoom,
        "anchor": offsets(draws[:2], 2),
        "cross": offsets(draws[2:], 4),
    }
    model.anchors, model.cross_cells = 4, 2
    model.train()
    losses = model.losses(batch)
    (losses.temporal + 0.1 * losses.cross_view).backward()
    assert losses.temporal.item() == pytest.approx(float(reference["loss_temp"]), rel=1e-5)
    assert losses.cross_view.item() == pytest.approx(float(reference["loss_cross"]), rel=1e-5)
    errors = reference["error_map"].reshape(2, 3, 8, 8)[:, 1:]
    np.testing.assert_allclose(losses.errors.detach(), errors, atol=1e-3)
    norms = [p.grad.norm().item() for p in network.parameters()]
    np.testing.assert_allclose(norms, reference["gradnorm"], rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(encoder.bn1.running_mean, reference["bn1_mean_after"], atol=1e-6)

"""DSM's warp and losses, and W-MSE's whitening, losses and gradients, against the authors' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.methods.dsm.method import triplets
from selfsup_motion.methods.dsm.warp import warped
from selfsup_motion.methods.parts.contrast import contrast_logits, info_nce
from selfsup_motion.methods.parts.whitening import pair_loss, whiten_sets


def test_a_warp_takes_the_published_pixels(golden):
    reference = golden("further/dsm_warp.npz")
    clip = torch.from_numpy(reference["clip"]).transpose(1, 2)  # (1, T, C, S, S)
    warps = torch.from_numpy(reference["point_x_y_dx_dy"])[None, None]
    found = warped(clip, warps).transpose(1, 2).numpy()
    np.testing.assert_array_equal(found, reference["warped"])
    assert (found != reference["clip"])[0, 0, 0].sum() == 917


def test_dsm_losses(golden):
    reference = golden("further/dsm_loss.npz")
    q, k, n, queue = (torch.from_numpy(reference[name]) for name in ("q", "k", "n", "queue"))
    logits = contrast_logits(q, k[None], queue, 0.07, n)
    torch.testing.assert_close(logits, torch.from_numpy(reference["logits"]))
    loss = info_nce(q, k[None], queue, 0.07, n)
    assert loss.item() == pytest.approx(float(reference["loss"]), rel=1e-6)
    assert triplets(q, k, n, 0.5).item() == pytest.approx(float(reference["triplet"]), abs=1e-5)


@pytest.mark.parametrize("case", "ABCD")
def test_whitening_losses_and_gradients(case, golden):
    everything = golden("further/wmse.npz")
    reference = {name[2:]: x for name, x in everything.items() if name.startswith(f"{case}_")}
    batch, dim, _, views, epsilon = reference["cfg_bs_emb_wsize_samples_eps"]
    head = torch.from_numpy(reference["h"]).requires_grad_()
    sets = torch.from_numpy(reference["perm"])
    embedded = head.view(int(views), int(batch), int(dim))
    white = whiten_sets(embedded, sets, float(epsilon))
    np.testing.assert_allclose(white.detach().flatten(0, 1), reference["z"], atol=1e-4)
    loss = pair_loss(white, normalise=True)
    loss.backward()
    assert loss.item() == pytest.approx(float(reference["loss_norm"]), rel=1e-5)
    distance = pair_loss(white.detach(), normalise=False).item()
    assert distance == pytest.approx(float(reference["loss_mse"]), rel=1e-5)
    np.testing.assert_allclose(head.grad, reference["grad_h"], atol=1e-5)
    first = white.detach()[0, sets[0]]
    covariance = (first.T @ first / (len(first) - 1)).numpy()
    np.testing.assert_allclose(covariance, reference["cov_first_block"], atol=1e-4)

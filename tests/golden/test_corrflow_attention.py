"""Restricted attention against the numbers of CorrFlow's own operator and pointer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.ops.attention import local_correlation, restricted_attention
from selfsup_motion.ops.label_cells import labels_to_cells


def hashed(shape: tuple[int, ...], salt: int) -> torch.Tensor:
    """The reference's numbers in [-1, 1): an integer hash of the index and a salt."""
    mask = np.uint64(0xFFFFFFFF)
    k = np.arange(int(np.prod(shape)), dtype=np.uint64)
    x = (k * np.uint64(2654435761) + np.uint64(salt) * np.uint64(40503) + np.uint64(12345)) & mask
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & mask
    x ^= x >> np.uint64(16)
    return torch.from_numpy(2 * (x.astype(np.float64) / 2**32) - 1).reshape(shape)


@pytest.mark.parametrize(("side", "dilation"), [(1, 1), (5, 1), (13, 1), (25, 1), (7, 2), (9, 3)])
def test_correlation_and_its_gradients_equal_the_operator(golden, side, dilation):
    arrays = golden("corrflow/a_correlation.npz")
    target, reference = (
        torch.from_numpy(arrays[f"in_{name}"]).requires_grad_() for name in ("target", "ref")
    )
    name = f"P{side}_d{dilation}"
    expected = torch.from_numpy(arrays[f"{name}_out"])
    out = local_correlation(target, reference, side // 2, dilation=dilation)
    torch.testing.assert_close(out, expected.flatten(1, 2), rtol=0, atol=1e-12)
    out.backward(hashed(tuple(expected.shape), 503).flatten(1, 2))
    for tensor, key in ((target, "gt"), (reference, "gr")):
        gradient = torch.from_numpy(arrays[f"{name}_{key}"])
        torch.testing.assert_close(tensor.grad, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [2, 3, 6])
def test_copies_and_their_gradients_equal_the_pointer(golden, radius):
    arrays = {k: torch.from_numpy(v) for k, v in golden("corrflow/a_softcopy.npz").items()}
    target, reference, labels = (
        arrays[name].clone().requires_grad_() for name in ("feat_target", "feat_ref", "soft_full")
    )
    cells = F.interpolate(labels, scale_factor=0.25, mode="bilinear", align_corners=False)
    torch.testing.assert_close(cells, arrays[f"R{radius}_prep_soft"], rtol=0, atol=1e-6)
    out = restricted_attention(target, reference, cells, radius)
    torch.testing.assert_close(out, arrays[f"R{radius}_copy_soft"], rtol=0, atol=1e-5)
    out.backward(hashed(tuple(out.shape), 514).float())
    for tensor, key in ((target, "target"), (reference, "ref"), (labels, "label")):
        gradient = arrays[f"R{radius}_g_{key}"]
        largest = float(gradient.abs().max())
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("radius", [2, 3, 6])
def test_hard_labels_with_blended_ids_equal_the_pointer(golden, radius):
    arrays = {k: torch.from_numpy(v) for k, v in golden("corrflow/a_softcopy.npz").items()}
    cells = labels_to_cells(arrays["hard_full"][:, 0], 16, 4, blend_ids=True)
    assert torch.equal(cells.argmax(1), arrays[f"R{radius}_prep_hard"])
    out = restricted_attention(arrays["feat_target"], arrays["feat_ref"], cells, radius)
    torch.testing.assert_close(out, arrays[f"R{radius}_copy_hard"], rtol=0, atol=1e-5)


def test_features_of_zero_differ_from_the_pointer_only_in_what_lies_outside(golden):
    """A score of exactly 0 means "outside" there: all of them masked, the border is copied too."""
    arrays = {k: torch.from_numpy(v) for k, v in golden("corrflow/a_softcopy.npz").items()}
    target, radius = arrays["zero_feat_target"], 6
    cells = arrays["R6_prep_soft"]
    out = restricted_attention(target, arrays["feat_ref"], cells, radius)
    zero = (target == 0).all(1)
    assert int(zero.sum()) == 4
    expected = arrays["zero_feat_copy"]
    torch.testing.assert_close(
        out.movedim(1, -1)[~zero], expected.movedim(1, -1)[~zero], rtol=0, atol=1e-5
    )
    extended = F.pad(cells, (radius,) * 4, mode="replicate")
    mean = F.avg_pool2d(extended, 2 * radius + 1, stride=1)
    torch.testing.assert_close(
        mean.movedim(1, -1)[zero], expected.movedim(1, -1)[zero], rtol=0, atol=1e-5
    )
    for b, y, x in zero.nonzero().tolist():
        rows, columns = (slice(max(0, c - radius), c + radius + 1) for c in (y, x))
        own = cells[b, :, rows, columns].mean((1, 2))
        torch.testing.assert_close(out[b, :, y, x], own, rtol=0, atol=1e-5)

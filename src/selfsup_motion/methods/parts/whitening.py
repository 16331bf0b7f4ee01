"""Whitening of embeddings, and the loss of whitened ones (W-MSE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def whiten(x: Tensor, epsilon: float) -> Tensor:
    """Bring sets of vectors to zero mean and unit covariance (Ermolov et al., section 3.1).

    By the inverse of the covariance's Cholesky factor; gradients pass through it. Computed in
    float32 at least, whatever is around.

    Args:
        x: (…, N, D), N > D vectors of each set.
        epsilon: share of the identity that is mixed into the covariance.

    Returns:
        (…, N, D).

    Raises:
        torch.linalg.LinAlgError: a covariance that is singular.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):
        centred = x - x.mean(-2, keepdim=True)
        covariance = centred.mT @ centred / (x.shape[-2] - 1)
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        factor = torch.linalg.cholesky((1 - epsilon) * covariance + epsilon * eye)
        white: Tensor = torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
        return white


def whiten_sets(embedded: Tensor, sets: Tensor, epsilon: float) -> Tensor:
    """Whiten each set of samples by itself, in each view by itself.

    Args:
        embedded: (V, N, D) embeddings of V views of N samples.
        sets: (K, w) which samples are a set; each sample is in one.
        epsilon: see `whiten`.

    Returns:
        (V, N, D), in the order of `embedded`.

    Raises:
        torch.linalg.LinAlgError: a covariance that is singular.
    """
    white = whiten(embedded[:, sets], epsilon).flatten(1, 2)
    return white[:, sets.flatten().argsort()]


def pair_loss(embedded: Tensor, *, normalise: bool) -> Tensor:
    """Mean over pairs of views of their mean distance.

    Args:
        embedded: (V, N, D).
        normalise: 2 − 2 cos, else the squared difference, averaged over dimensions.
    """
    first, second = torch.triu_indices(len(embedded), len(embedded), 1, device=embedded.device)
    a, b = embedded[first], embedded[second]
    if normalise:
        return (2 - 2 * F.cosine_similarity(a, b, dim=2)).mean()
    return F.mse_loss(a, b)

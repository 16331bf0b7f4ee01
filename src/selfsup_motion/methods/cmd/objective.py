"""The loss of both tasks: finding what belongs to each query."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.methods.parts.gathering import gather_rows, own_rows


def matching_loss(
    queries: Tensor, positives: Tensor, negatives: Tensor | None, temperature: float
) -> Tensor:
    """Cross-entropy of finding each query's key among those of all queries and more (equation 2).

    Keys are those of all processes. Gradients flow to queries and to keys.

    Args:
        queries: (N, D) unit vectors.
        positives: (N, D) unit vectors, the key of each query.
        negatives: (M, D) unit vectors that belong to no query; None: there are none.
        temperature: of the similarities.

    Returns:
        (): mean over the queries.
    """
    keys = gather_rows(positives.float())
    if negatives is not None:
        keys = torch.cat([keys, gather_rows(negatives.float())])
    logits = queries.float() @ keys.T / temperature
    return F.cross_entropy(logits, own_rows(len(queries), queries.device))


def own_loss(queries: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """The same among the keys of each clip alone, which does not depend on how clips are batched.

    Args:
        queries: (B, N, D) unit vectors.
        positives: (B, N, D) unit vectors.
        negatives: (B, M, D) unit vectors.
        temperature: of the similarities.

    Returns:
        (B, N): cross-entropy of each query.
    """
    logits = own_similarities(queries, positives, negatives) / temperature
    right = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return F.cross_entropy(logits.transpose(1, 2), right, reduction="none")


def own_similarities(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """(B, N, D), (B, N, D) and (B, M, D) → (B, N, N + M) float32 cosines within each clip."""
    return queries.float() @ torch.cat([positives, negatives], 1).float().transpose(1, 2)

"""Losses on embeddings of several views, as pure functions.

All compute in float32, whatever `trainer.precision` says. Where other samples of the batch matter,
they are those of all processes.
"""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.methods.parts.gathering import gather_rows, own_rows, several_ranks


def info_nce(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: float,
    own: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of finding each positive among the negatives (MoCo).

    Args:
        queries: (N, D) unit vectors.
        positives: (P, N, D) unit vectors; each is a question of its own.
        negatives: (K, D) unit vectors, the same for all queries.
        temperature: of the similarities.
        own: (N, D) unit vectors, one more negative for each query.

    Returns:
        (): mean over the P · N questions.
    """
    more = None if own is None else own.float()
    logits = contrast_logits(
        queries.float(), positives.float(), negatives.float(), temperature, more
    )
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64))


def contrast_logits(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: float,
    own: Tensor | None = None,
) -> Tensor:
    """(P · N, 1 + K) similarities over the temperature: the positive's, those of the negatives and
    that of `own`; see `info_nce`."""
    right = (queries * positives).sum(2)[..., None]
    with torch.autocast(queries.device.type, enabled=False):
        wrong = queries @ negatives.T
    if own is not None:
        wrong = torch.cat([wrong, (queries * own).sum(1, keepdim=True)], 1)
    logits = torch.cat([right, wrong.expand(len(positives), -1, -1)], 2)
    return logits.flatten(0, 1) / temperature


def cosine_loss(predictions: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Minus the mean cosine over the temperature (BYOL; 2 − 2 cos less a constant at 0.5).

    Args:
        predictions: (N, D).
        targets: (P, N, D).
        temperature: divides.
    """
    cosines = F.cosine_similarity(predictions.float()[None], targets.float(), dim=2)
    return -cosines.mean() / temperature


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding the other view among both views of all samples (SimCLR).

    Args:
        first: (N, D) unit vectors.
        second: (N, D) of the same samples.
        temperature: of the similarities.

    Returns:
        (): mean over the 2 N views of this rank.
    """
    own = torch.cat([first, second]).float()
    mine = own_rows(len(first), own.device)
    firsts, seconds = gather_rows(first.float()), gather_rows(second.float())
    total = len(firsts)
    with torch.autocast(own.device.type, enabled=False):
        logits = own @ torch.cat([firsts, seconds]).T / temperature
    itself = torch.cat([mine, mine + total])
    other = torch.cat([mine + total, mine])
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(logits, other)


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assign samples to prototypes, which are all used equally often (SwAV).

    Args:
        scores: (N, K) similarities of this rank's samples; all ranks have as many.
        epsilon: sharpness; smaller is sharper.
        iterations: of the normalisation.

    Returns:
        (N, K) float32, each row a distribution.
    """
    ranks = torch.distributed.get_world_size() if several_ranks() else 1
    codes = torch.exp(scores.float() / epsilon)
    codes = codes / _over_ranks(codes.sum())
    samples, prototypes = ranks * len(codes), codes.shape[1]
    for _ in range(iterations):
        codes = codes / (_over_ranks(codes.sum(0)) * prototypes)
        codes = codes / (codes.sum(1, keepdim=True) * samples)
    return codes * samples


def swapped_prediction(
    first: Tensor, second: Tensor, *, temperature: float, epsilon: float, iterations: int
) -> Tensor:
    """Cross-entropy of each view's scores against the codes of the other (SwAV, equation 2).

    Args:
        first: (N, K) cosines of embeddings and prototypes.
        second: (N, K) of the other view.
        temperature: of the predictions.
        epsilon: see `sinkhorn`.
        iterations: see `sinkhorn`.

    Returns:
        (): mean over samples and both directions.
    """
    losses = [
        -(sinkhorn(given, epsilon, iterations) * F.log_softmax(asked.float() / temperature, 1))
        .sum(1)
        .mean()
        for given, asked in ((first, second), (second, first))
    ]
    return (losses[0] + losses[1]) / 2


def _over_ranks(x: Tensor) -> Tensor:
    """The sum over all ranks."""
    if several_ranks():
        torch.distributed.all_reduce(x)
    return x

"""What frozen features are worth: nearest neighbours, retrieval, a linear classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def neighbours(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest by cosine similarity; equal ones in the order of the gallery.

    Args:
        queries: (Q, C).
        gallery: (G, C).
        k: at most G are returned.

    Returns:
        (Q, min(k, G)) indices into the gallery, and their similarities.
    """
    similarity = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    return order, similarity.gather(1, order)


def recalls(found: Tensor, labels: Tensor, truth: Tensor, at: Sequence[int]) -> dict[str, float]:
    """R@k as video retrieval defines it: the share of queries with one right video among k.

    Args:
        found: (Q, K) of `neighbours`, K at least the largest k or the size of the gallery.
        labels: (G,) of the gallery.
        truth: (Q,) of the queries.
        at: values of k.

    Returns:
        `R@k` in [0, 1], without those that any order of the gallery would give: with k videos of
        which at most k - 1 are of other classes, a right one is always among them.
    """
    right = labels[found] == truth[:, None]
    same = (labels[None] == truth[:, None]).sum(1)
    others = len(labels) - same
    return {
        f"R@{k}": right[:, :k].any(1).float().mean().item()
        for k in at
        if bool(((same > 0) & (others >= k)).any())
    }


def knn_scores(
    found: Tensor, similarity: Tensor, labels: Tensor, classes: int, temperature: float
) -> Tensor:
    """(Q, classes): votes of the neighbours, each weighted by exp(similarity / temperature), up to
    a factor of each query."""
    nearest = similarity.amax(1, keepdim=True)  # else exp overflows at low temperatures
    weights = ((similarity - nearest) / temperature).exp()
    votes = torch.zeros(len(found), classes, dtype=weights.dtype)
    return votes.scatter_add_(1, labels[found], weights)


def top_scores(name: str, scores: Tensor, truth: Tensor) -> dict[str, float]:
    """`<name>1` and `<name>5`, see `top_k`; the second only where there are more than 5 classes."""
    return {f"{name}{k}": top_k(scores, truth, k) for k in (1, 5) if k == 1 or k < scores.shape[1]}


def top_k(scores: Tensor, truth: Tensor, k: int) -> float:
    """Share of rows whose right class is among the k best; equal ones count by their order."""
    best = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return float((best == truth[:, None]).any(1).float().mean())


class LinearProbe:
    """Multinomial logistic regression on standardised features, solved to the end.

    Nothing is chosen by looking at test data: there is no learning rate, no early stop, and the
    penalty is an argument.

    Args:
        features: (N, C).
        labels: (N,).
        classes: number of classes.
        penalty: of the squared weights, beside the mean cross-entropy.
        steps: at most so many iterations of L-BFGS.
    """

    def __init__(
        self, features: Tensor, labels: Tensor, classes: int, *, penalty: float, steps: int
    ) -> None:
        x = features.double()
        self.mean, self.std = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
        x = (x - self.mean) / self.std
        weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
        bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
        solver = torch.optim.LBFGS(
            [weight, bias], max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-6
        )

        def loss() -> Tensor:
            solver.zero_grad()
            value = F.cross_entropy(F.linear(x, weight, bias), labels)
            value = value + penalty * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        solver.step(loss)  # type: ignore[no-untyped-call]
        self.weight, self.bias = weight.detach(), bias.detach()

    def probabilities(self, features: Tensor) -> Tensor:
        """(N, C) → (N, classes)."""
        x = (features.double() - self.mean) / self.std
        return F.linear(x, self.weight, self.bias).softmax(1)

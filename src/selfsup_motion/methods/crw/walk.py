"""A random walk through the frames of a clip and back (Jabri et al. 2020, section 2).

Nodes are patches, or cells, of frames. A walker goes from a node to similar nodes of the next
frame, up to some frame and back; it should end where it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_DROPPED = -1e20
"""Similarity of an edge that is dropped. A node all of whose edges are dropped goes anywhere."""
_EPSILON = 1e-20


@dataclass(frozen=True)
class Edges:
    """Which edges of the graph are dropped.

    Attributes:
        forward: (T - 1, B, N, N) bool, from node i of frame t to node j of frame t + 1.
        backward: (T - 1, B, N, N) bool, from node i of frame t + 1 to node j of frame t.
    """

    forward: Tensor
    backward: Tensor


class Walk(NamedTuple):
    """Walks of some steps and as many back, in two halves.

    Attributes:
        out: (B, N, N), row i holds the probabilities of being at each node of the last frame after
            having begun at node i of frame 0.
        back: (B, N, N), likewise from the last frame to frame 0.
    """

    out: Tensor
    back: Tensor

    def ends(self) -> Tensor:
        """(B, N, N): row i holds the probabilities of ending at each node of frame 0."""
        return self.out @ self.back

    def returned(self) -> Tensor:
        """(B, N): the probability of ending where it began; N² products, where `ends` takes N³."""
        return (self.out * self.back.mT).sum(-1)


def drop_edges(uniform: Tensor, rate: float, *, shared: bool) -> Edges:
    """Which edges to drop, from uniform draws.

    Args:
        uniform: (2 (T - 1), B, N, N) in [0, 1): for the steps forward, then for those backward.
        rate: share that is dropped.
        shared: as the published code: an edge that is dropped forward is dropped backward, too,
            where further ones are dropped, 1 - (1 - rate)² together. Otherwise the two directions
            are independent of each other.
    """
    forward, backward = (uniform < rate).chunk(2)
    if shared:
        backward = backward | forward.mT
    return Edges(forward, backward)


def transitions(
    nodes: Tensor, temperature: float, dropped: Edges | None = None
) -> tuple[Tensor, Tensor]:
    """Probabilities of every step (equation 1).

    Args:
        nodes: (B, D, T, N) of length 1 along D.
        temperature: similarities are divided by it.
        dropped: edges that are not taken; None: all may be.

    Returns:
        Forward and backward (T - 1, B, N, N) float32: row i holds the probabilities of going from
        node i of frame t to the nodes of frame t + 1, and from node i of frame t + 1 to the nodes
        of frame t.
    """
    frames = nodes.float().permute(2, 0, 3, 1)  # (T, B, N, D)
    # divided before the product, in which there are fewer numbers
    similarity = (frames[:-1] / temperature) @ frames[1:].mT
    forward, backward = similarity, similarity.mT
    if dropped is not None:
        forward = forward.masked_fill(dropped.forward, _DROPPED)
        backward = backward.masked_fill(dropped.backward, _DROPPED)
    return forward.softmax(-1), backward.softmax(-1)


def palindromes(forward: Tensor, backward: Tensor) -> list[Walk]:
    """Walks of k + 1 steps and back, for k = 1 … T - 2 (equation 2).

    The walk of one step and back is left out, as in the published code. With the two arguments
    exchanged, the factors are in the order of its option `flip`.

    Args:
        forward: (T - 1, B, N, N) as of `transitions`.
        backward: likewise.
    """
    out, back = forward[0], backward[0]
    walks = []
    for there, home in zip(forward[1:], backward[1:], strict=True):
        out, back = out @ there, home @ back
        walks.append(Walk(out, back))
    return walks


def walk_losses(walks: list[Walk]) -> Tensor:
    """How far walks are from returning to where they began (equation 3).

    Args:
        walks: K of them.

    Returns:
        (K,) cross-entropy of the end with the beginning, mean over nodes.
    """
    returned = torch.stack([walk.returned() for walk in walks])
    # where a walk ends adds up to 1, so this is the cross-entropy of its logarithm
    return -(returned + _EPSILON).log().flatten(1).mean(1)


@torch.no_grad()
def walk_accuracies(walks: list[Walk]) -> Tensor:
    """(K,) share of nodes to which the walk is most likely to return."""
    ends = torch.stack([walk.ends().argmax(-1) for walk in walks])
    hits = ends == torch.arange(ends.shape[-1], device=ends.device)
    return hits.float().flatten(1).mean(1)

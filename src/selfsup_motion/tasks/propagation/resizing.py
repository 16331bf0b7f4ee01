"""Followers that see all frames at one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from selfsup_motion.tasks.propagation.followers import Follower


def seen_at(followers: Sequence[Follower], size: Sequence[int] | None) -> list[Follower]:
    """The followers with frames resized to (height, width), whatever their proportions and whatever
    the propagators say; None leaves it to them."""
    return [follower if size is None else _seen_at(follower, size) for follower in followers]


def _seen_at(follower: Follower, size: Sequence[int]) -> Follower:
    propagator = follower.propagation.propagator
    if propagator is None:  # nothing is looked at
        return follower
    fixed = propagator.changed(
        short_side=None, enlarge=False, long_side_multiple=1, frame_size=list(size)
    )
    return replace(follower, propagation=replace(follower.propagation, propagator=fixed))

"""Following a flow over time, as a steady stream, in small steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.splat import fill_holes, softmax_splat
from selfsup_motion.ops.warp import backward_warp

_STILL = 0.1
"""Share of the fastest motion of all below which nothing counts as moving."""
_RIM = 0.4
"""Share of the fastest motion nearby up to which a pixel is the faded rim of it; at twice as much,
it counts fully."""
_NEARBY = 12
"""What lies within the short side divided by this is nearby."""
_OUTLINE = 0.6
"""A share of the surrounding motion that changes by this within two pixels is an outline."""
_IN_FRONT = 30.0
"""Importance of the farthest moved pixel over a still one, in the exponent."""


def follow(flow: Tensor, times: Sequence[float], *, max_step: float = 1.0) -> list[Tensor]:
    """Where pixels are after following a flow for a while.

    The flow is the motion in one unit of time. It is taken as a steady stream and followed in small
    steps, so that a rotation stays one and neighbours stay neighbours; scaled as a whole, a large
    rotation would blow up. So that a thing can leave the place where it was seen, its motion is
    continued outside of it. A pixel that is hardly slower than the motion around it takes part in
    all of it, one that is much slower stays. At a sharp outline, see `whole_at_outlines`.

    Args:
        flow: (B, 2, H, W), (x, y) displacement in pixels.
        times: at which to look, in any order; negative ones follow the stream backwards.
        max_step: longest step in pixels.

    Returns:
        For each time, the displacement (B, 2, H, W) of each pixel of the start.
    """
    stream, share = _surrounding(flow)
    outline, whole = _outline(share)
    # a predicted flow fades at the rim of what moves, which would squeeze it in front
    share = torch.where(outline, whole, (2 * share - 0.5).clamp(0, 1))
    top_speed = float(stream.norm(dim=1).max())
    result: dict[float, Tensor] = {0.0: torch.zeros_like(flow)}
    for sign in (1.0, -1.0):
        moved, now = torch.zeros_like(flow), 0.0
        for time in sorted({abs(t) for t in times if t * sign > 0}):
            steps = max(1, math.ceil((time - now) * top_speed / max_step))
            for _ in range(steps):
                velocity = backward_warp(stream, moved, padding="border")
                moved = moved + velocity * (sign * (time - now) / steps)
            now = time
            result[sign * time] = moved * share
    return [result[float(time)] for time in times]


def whole_at_outlines(flow: Tensor) -> Tensor:
    """Let the pixels of sharp outlines take part in all of the motion beside them, or in none.

    Where the image was cut, some pixels have a part of the motion. They would be strewn over the
    way that a thing has gone. One more pixel goes along with it: it shows both the thing and its
    ground, and would stay behind as a thin line. Where motion fades gently, nothing changes.

    Args:
        flow: (B, 2, H, W), displacement in pixels.
    """
    stream, share = _surrounding(flow)
    outline, whole = _outline(share)
    return torch.where(outline, stream * whole, flow)


def origins(moved: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pixels seen after a motion come from.

    What moved farther is in front. What no pixel moved to is filled in between its neighbours'
    origins, which stretches the image there. Only where that would show once more what has moved
    away, there is a gap.

    Args:
        moved: (B, 2, H, W), displacement of each pixel of the start.

    Returns:
        places: (B, 2, H, W), for `backward_warp` of the image at the start.
        gap: (B, 1, H, W) in [0, 1], see `fill_from_still`.
    """
    places, coverage = softmax_splat(-moved, moved, nearness(moved))
    places = fill_holes(places, coverage.clamp(max=1).square())
    there = backward_warp(share_of_motion(moved), places, padding="border")
    return places, holes(coverage) * (2 * there).clamp(max=1)


def fill_from_still(image: Tensor, motion: Tensor, hole: Tensor) -> Tensor:
    """Fill holes from what is around them and did not move: the ground that came to light.

    Args:
        image: (B, C, H, W).
        motion: (B, 1, H, W) in [0, 1], as of `share_of_motion`, of what is seen.
        hole: (B, 1, H, W) in [0, 1]: 1 is replaced, 0 kept.
    """
    # where all moves, that has to do
    trust = (1 - hole) * (1 - motion).clamp(min=1e-3)
    return image * (1 - hole) + fill_holes(image, trust) * hole


def holes(coverage: Tensor) -> Tensor:
    """Coverage of `softmax_splat` → 1 where nothing landed, 0 where at least a quarter did, as
    where the image is enlarged twofold."""
    return (1 - 4 * coverage).clamp(min=0)


def nearness(moved: Tensor) -> Tensor:
    """(B, 1, H, W) importance for `softmax_splat`: what moved farther is in front."""
    return _IN_FRONT * share_of_motion(moved)


def _surrounding(flow: Tensor) -> tuple[Tensor, Tensor]:
    """The motion of things, continued beyond them (B, 2, H, W), and how much of it each pixel
    has (B, 1, H, W), at most 1."""
    speed = flow.norm(dim=1, keepdim=True)
    stream = fill_holes(flow, _moves(speed))
    share = speed / stream.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return stream, share.clamp(max=1)


def _outline(share: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) shares of motion → where outlines are, bool, and 1 for what belongs to things
    and one pixel around them, else 0."""
    highest = F.max_pool2d(share, 5, stride=1, padding=2)
    lowest = -F.max_pool2d(-share, 5, stride=1, padding=2)
    whole = F.max_pool2d((share > 0.5).to(share.dtype), 3, stride=1, padding=1)
    return highest - lowest > _OUTLINE, whole


def _moves(speed: Tensor) -> Tensor:
    """(B, 1, H, W) speeds → in [0, 1], whether a pixel moves as its surroundings do.

    Exactly 0 in the background, whose many pixels would count for much together.
    """
    reach = min(speed.shape[-2:]) // _NEARBY
    around = speed
    for window in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        margin = window[0] // 2, window[1] // 2
        around = F.max_pool2d(around, window, stride=1, padding=margin)
    real = speed > _STILL * speed.amax((2, 3), keepdim=True)
    return ((speed / around.clamp(min=1e-6) - _RIM) / _RIM).clamp(0, 1) * real


def share_of_motion(moved: Tensor) -> Tensor:
    """(B, 1, H, W): how far a pixel moved, 1 for the one that moved farthest."""
    distance = moved.norm(dim=1, keepdim=True)
    share: Tensor = distance / distance.amax((2, 3), keepdim=True).clamp(min=1e-6)
    return share

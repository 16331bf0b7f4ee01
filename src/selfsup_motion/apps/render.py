"""A photo and its motion → frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.background import background
from selfsup_motion.ops.splat import softmax_splat
from selfsup_motion.ops.stream import (
    fill_from_still,
    follow,
    holes,
    nearness,
    origins,
    share_of_motion,
    whole_at_outlines,
)
from selfsup_motion.ops.warp import backward_warp

Warp = Literal["backward", "forward"]
Loop = Literal["none", "back", "seamless"]
Easing = Literal["linear", "in", "out", "smooth"]

EASINGS: dict[Easing, Callable[[float], float]] = {
    "linear": lambda t: t,
    "in": lambda t: t * t,
    "out": lambda t: t * (2 - t),
    "smooth": lambda t: t * t * (3 - 2 * t),
}

_FIELD_SIDE = 480
"""Motion is followed at this short side; it is smooth, and the image keeps its own resolution."""

_UNCOVERS = 0.05
"""Share of the fastest motion from which on a pixel is one of a thing that moves."""

_MOST_KEPT = 1 << 29
"""Bytes of frames that are kept to be shown again."""
_AROUND = 16
"""Pixels beyond the farthest that something moves, within which it may still show."""

Moment = tuple[tuple[float, float], ...]
"""(time, weight) of the renderings that a frame blends; time 1 is the whole motion."""


def schedule(frames: int, loop: Loop, easing: Easing) -> list[Moment]:
    """When in the motion each frame is.

    Args:
        frames: how many, at least 2.
        loop: "none" ends at the whole motion; "back" goes there and back, "seamless" blends the
            motion that ends with the one that begins. These two go round without a jump.
        easing: of "none" and "back": how the way is divided over the time. A seamless loop is
            always even.
    """
    ease = EASINGS[easing]
    if loop == "none":
        return [((ease(i / (frames - 1)), 1.0),) for i in range(frames)]
    shares = [i / frames for i in range(frames)]
    if loop == "back":
        # rounded, so that the way back shows the very frames of the way there
        return [((round(ease(1 - abs(1 - 2 * t)), 12), 1.0),) for t in shares]
    return [((t, 1 - t), (t - 1, t)) for t in shares]


@torch.no_grad()
def render_frames(
    image: Tensor, flow: Tensor, moments: Sequence[Moment], warp: Warp = "backward"
) -> Iterator[NDArray[np.uint8]]:
    """Move a photo.

    Args:
        image: (3, H, W) uint8.
        flow: (2, H, W) float32: the whole motion, on the device to work on; or (T, 2, H, W): the
            motion to each of T evenly spaced times, the last of which is 1.
        moments: see `schedule`.
        warp: "backward" looks every pixel up where it comes from and stretches the image where the
            motion parts. "forward" pushes the pixels and keeps them together. Both continue the
            ground behind what moves, see `background`.

    Yields:
        (H, W, 3) uint8, a frame a moment.
    """
    box = _moving_box(flow, max(abs(time) for moment in moments for time, _ in moment))
    still = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    # there and back, most moments come twice
    repeated = {moment for moment, count in Counter(moments).items() if count > 1}
    size = 3 * (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    if len(repeated) * size > _MOST_KEPT:
        repeated = set()
    kept: dict[Moment, NDArray[np.uint8]] = {}
    asked = list(dict.fromkeys(moments)) if repeated else moments
    parts = _rendered(image[:, *box], flow[..., *box], asked, warp)
    for moment in moments:
        part = kept[moment] if moment in kept else next(parts)
        if moment in repeated:
            kept[moment] = part
        frame = still.copy()
        frame[box] = part
        yield frame


def _rendered(
    image: Tensor, flow: Tensor, moments: Sequence[Moment], warp: Warp
) -> Iterator[NDArray[np.uint8]]:
    """See `render_frames`."""
    height, width = image.shape[-2:]
    scale = min(1.0, _FIELD_SIDE / min(height, width))
    field_size = max(1, round(height * scale)), max(1, round(width * scale))
    field = _resized(flow if flow.ndim == 4 else flow[None], field_size)
    times = sorted({time for moment in moments for time, _ in moment})
    followed = follow(field, times) if flow.ndim == 3 else _between(field, times)
    displacements = dict(zip(times, followed, strict=True))
    picture = image[None].to(flow.device, torch.float32)
    ground = background(image, _moving(flow))
    behind = None if ground is None else ground[None].to(flow.device)
    move = _stretched if warp == "backward" else _pushed
    for moment in moments:
        frame = torch.zeros_like(picture)
        for time, weight in moment:
            if weight > 0:
                frame += weight * move(picture, displacements[time], behind)
        levels = frame[0].round_().clamp_(0, 255).to(torch.uint8)
        yield np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def frame_count(seconds: float, fps: float) -> int:
    """Frames of a film, at least 2."""
    return max(2, math.floor(seconds * fps + 0.5))


def _between(flows: Tensor, times: Sequence[float]) -> list[Tensor]:
    """Displacements (1, 2, H, W) at some times, of motions (T, 2, H, W) to T evenly spaced ones.

    A negative time is that much before the motion begins as it would then go on: shifted by the
    whole of it.
    """
    flows = whole_at_outlines(flows)
    steps = torch.cat([torch.zeros_like(flows[:1]), flows])

    def at(time: float) -> Tensor:
        place = min(time, 1.0) * len(flows)
        first = min(int(place), len(flows) - 1)
        share = place - first
        return (1 - share) * steps[first, None] + share * steps[first + 1, None]

    return [at(time) if time >= 0 else at(1 + time) - flows[-1:] for time in times]


def _moving_box(flow: Tensor, longest: float) -> tuple[slice, slice]:
    """The part of the image outside of which nothing changes; all of it if nothing is at rest.

    Args:
        flow: (2, H, W) or (T, 2, H, W).
        longest: time that it is followed for, forwards or backwards.
    """
    speed = flow.norm(dim=-3)
    if flow.ndim == 4:  # backwards, a path may lie on the other side of its end
        speed, longest = speed.amax(0), 2 * longest
    reach = math.ceil(longest * float(speed.max())) + _AROUND
    box = []
    for axis, size in ((1, flow.shape[-2]), (0, flow.shape[-1])):
        where = torch.nonzero(speed.amax(axis))
        first, last = (int(where.min()), int(where.max())) if len(where) else (0, 0)
        box.append(slice(max(0, first - reach), min(size, last + reach + 1)))
    return box[0], box[1]


def _moving(flow: Tensor) -> Tensor:
    """(H, W) bool: pixels whose leaving would uncover something."""
    speed = flow.norm(dim=-3)
    speed = speed.amax(0) if flow.ndim == 4 else speed
    moves: Tensor = speed > _UNCOVERS * speed.max().clamp(min=1e-6)
    return moves


def _stretched(picture: Tensor, moved: Tensor, behind: Tensor | None) -> Tensor:
    size = picture.shape[-2], picture.shape[-1]
    places, gap = origins(moved)
    frame = backward_warp(picture, _resized(places, size), padding="border")
    if not gap.any():
        return frame
    if behind is not None:
        gap = F.interpolate(gap, size, mode="bilinear")
        return frame * (1 - gap) + behind * gap
    # what fills a gap is blurred anyway, so the size of the field will do
    small = F.interpolate(frame, moved.shape[-2:], mode="bilinear", antialias=True)
    seen = backward_warp(share_of_motion(moved), places, padding="border")
    filled = fill_from_still(small, seen, gap)
    filled, gap = (F.interpolate(t, size, mode="bilinear") for t in (filled, gap))
    return torch.where(gap > 0, frame * (1 - gap) + filled * gap, frame)


def _pushed(picture: Tensor, moved: Tensor, behind: Tensor | None) -> Tensor:
    moved = _resized(moved, (picture.shape[-2], picture.shape[-1]))
    layers = torch.cat([picture, share_of_motion(moved)], 1)
    pushed, coverage = softmax_splat(layers, moved, nearness(moved))
    if behind is not None:
        empty = holes(coverage)
        return pushed[:, :3] * (1 - empty) + behind * empty
    return fill_from_still(pushed[:, :3], pushed[:, 3:], holes(coverage))


def _resized(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 2, h, w) in pixels of its own size → (B, 2, *size) in pixels of that."""
    height, width = flow.shape[-2:]
    if size == (height, width):
        return flow
    resized = F.interpolate(flow, size, mode="bilinear", antialias=True)
    return resized * flow.new_tensor([size[1] / width, size[0] / height]).view(2, 1, 1)

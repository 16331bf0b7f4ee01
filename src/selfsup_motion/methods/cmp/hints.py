"""What a program knows of the motion, as the points and vectors that `CMP.propagate` takes.

    flows = method.propagate(image, *trajectory_hints(trajectories))

Positions are x, y in pixels; whole numbers are pixel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = Tensor | NDArray[Any] | Sequence[Any]
"""A tensor, an array or nested lists."""


class Hints(NamedTuple):
    """The arguments of `CMP.propagate` after the image: `method.propagate(image, *hints)`.

    Attributes:
        points: (K, 2), or (T, K, 2) if they differ over time; float32.
        vectors: (K, 2) or (T, K, 2); float32.
        used: (K,) or (T, K) bool; the others may hold anything finite.
    """

    points: Tensor
    vectors: Tensor
    used: Tensor


def trajectory_hints(trajectories: Numbers, visible: Numbers | None = None) -> Hints:
    """Points over time → their motion from the first time to each later one.

    Args:
        trajectories: (T, K, 2) positions at T ≥ 2 times. Where one is NaN, or None in a list, the
            point is not seen: the "frames" of a `points.json` of `propagate` can be given as well.
        visible: (T, K) bool. None: all points are, at all times.

    Returns:
        Hints for T − 1 flows. A point that is hidden at the first or at a later time says nothing
        then.
    """
    tracks = _tracks(trajectories)
    if tracks.ndim != 3 or tracks.shape[-1] != 2 or len(tracks) < 2:
        raise ValueError(f"trajectories must be (T, K, 2) with T >= 2, got {tuple(tracks.shape)}")
    seen = tracks.isfinite().all(-1)
    if visible is not None:
        given = _tensor(visible)
        if given.shape != seen.shape:
            raise ValueError(
                f"visible must be {tuple(seen.shape)} as the trajectories, got {tuple(given.shape)}"
            )
        seen = seen & given.bool()
    used = seen[1:] & seen[:1]
    points = torch.where(seen[0, :, None], tracks[0], 0)
    return Hints(points, torch.where(used[..., None], tracks[1:] - tracks[:1], 0), used)


def borrowed_hints(
    trajectories: Numbers,
    clip_size: tuple[int, int],
    image_size: tuple[int, int],
    *,
    places: Numbers | None = None,
    visible: Numbers | None = None,
) -> Hints:
    """The motion of another clip's points, for an image.

    Args:
        trajectories: (T, K, 2), see `trajectory_hints`, in pixels of the clip.
        clip_size: (height, width) of its frames.
        image_size: (height, width) of the image. Motions grow with it.
        places: (K, 2), where in the image the points are. None: where they are in the clip, which
            is laid over the image.
        visible: see `trajectory_hints`.
    """
    scale = torch.tensor([image_size[1] / clip_size[1], image_size[0] / clip_size[0]])
    # pixel centres are whole numbers, so both pictures begin at -0.5
    hints = trajectory_hints((_tracks(trajectories) + 0.5) * scale - 0.5, visible)
    if places is None:
        return hints
    points = _tensor(places)
    if points.shape != hints.points.shape:
        raise ValueError(
            f"places must be {tuple(hints.points.shape)}, one for each trajectory, got "
            f"{tuple(points.shape)}"
        )
    return hints._replace(points=points)


def region_hints(region: Numbers, vector: Numbers, *, count: int = 8) -> Hints:
    """A region that moves as one → points in it, with its motion.

    The first point lies as deep in the region as possible, each further one as far as possible from
    the others and from the region's border.

    Args:
        region: (H, W), not zero where the region is.
        vector: (2,), its motion in pixels, or (T, 2) over time; zero for a region that rests.
        count: how many points; fewer if the region has fewer pixels.
    """
    inside = _tensor(region).numpy() != 0
    motion = _tensor(vector)
    if inside.ndim != 2 or not inside.any():
        raise ValueError(f"region must be (H, W) with a pixel in it, got {inside.shape}")
    if motion.ndim not in (1, 2) or motion.shape[-1] != 2:
        raise ValueError(f"vector must be (2,) or (T, 2), got {tuple(motion.shape)}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    points = torch.from_numpy(_spread_out(inside, count))
    vectors = motion.unsqueeze(-2).expand(*motion.shape[:-1], len(points), 2)
    return Hints(points, vectors, torch.ones(vectors.shape[:-1], dtype=torch.bool))


def join_hints(*hints: Hints) -> Hints:
    """Hints of several kinds for one image; those without time say the same at all times."""
    times = {len(hint.vectors) for hint in hints if hint.vectors.ndim == 3}
    if len(times) > 1:
        raise ValueError(f"hints for {' and '.join(map(str, sorted(times)))} times do not join")
    if not times:
        return Hints(*(torch.cat(part) for part in zip(*hints, strict=True)))
    (steps,) = times
    points, vectors, used = (
        [part if part.ndim == whole else part.expand(steps, *part.shape) for part in parts]
        for whole, parts in zip((3, 3, 2), zip(*hints, strict=True), strict=True)
    )
    return Hints(torch.cat(points, 1), torch.cat(vectors, 1), torch.cat(used, 1))


def _spread_out(inside: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
    """(K, 2): x, y of pixels far from each other and from the border of a region."""
    depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.nonzero(inside)
    score = depth[y, x].astype(np.float64)
    free = 2 * score  # a point may be nearer to the border than to another point
    chosen: list[int] = []
    while len(chosen) < min(count, len(x)):
        best = int(score.argmax())
        chosen.append(best)
        free = np.minimum(free, np.hypot(x - x[best], y - y[best]))
        score = free
    return np.stack([x[chosen], y[chosen]], 1).astype(np.float32)


def _tracks(values: Numbers) -> Tensor:
    if isinstance(values, (Tensor, np.ndarray)):
        return _tensor(values)
    lost = [float("nan")] * 2
    return _tensor([[lost if point is None else point for point in time] for time in values])


def _tensor(values: Numbers) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu().float()
    return torch.from_numpy(np.array(values, np.float32))

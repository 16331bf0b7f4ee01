"""Painted regions that move as one: points in them instead of the arrow that begins there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.apps.arrows import pixels
from selfsup_motion.methods.cmp.hints import region_hints

Row = list[float]
Path = list[list[float]]

_POINTS = 8
"""In each region."""
_ALONG = 5
"""Points along each side of the photo."""
_NEAR = 0.15
"""Share of the short side within which of an arrow the border is free."""


def border_pins(size: tuple[int, int], starts: Sequence[Sequence[float]]) -> list[Row]:
    """Points along the border of a photo, which hold it as a camera at rest does.

    Args:
        size: (height, width) of the photo.
        starts: [[x, y, ...], ...] of what moves; the border near to these is left out.
    """
    x, y = (np.linspace(0, side - 1, _ALONG).round() for side in (size[1], size[0]))
    around = [(px, py) for px in x for py in y if px in (x[0], x[-1]) or py in (y[0], y[-1])]
    near = _NEAR * min(size)
    return [
        [float(px), float(py)]
        for px, py in around
        if all(np.hypot(px - start[0], py - start[1]) > near for start in starts)
    ]


def spread_over_regions(
    arrows: Sequence[Sequence[float]],
    paths: Sequence[Sequence[Sequence[float]]],
    labels: NDArray[np.uint8],
) -> tuple[list[Row], list[Row], list[Path]]:
    """Let all of a region go where the arrow or the path goes that begins in it.

    Of several that begin in one region, each point follows the nearest. A region in which none
    begins stays where it is.

    Args:
        arrows: [[x, y, dx, dy], ...] in pixels.
        paths: [[[x, y], ...], ...], each from its first place on.
        labels: (H, W), 0 outside of the regions, another number for each.

    Returns:
        Arrows, pins [[x, y], ...] and paths, as `arrow_sets` takes them.
    """
    size = labels.shape[0], labels.shape[1]
    ways: list[Path] = [[[a[0], a[1]], [a[0] + a[2], a[1] + a[3]]] for a in arrows]
    ways += [[[float(x), float(y)] for x, y in path] for path in paths]
    starts = np.array([way[0] for way in ways], np.float64).reshape(-1, 2)
    places = pixels(starts, size)
    within = labels[places[:, 1], places[:, 0]] if len(ways) else np.zeros(0, np.uint8)
    outside = {int(number) for number in np.flatnonzero(within == 0)}
    new_arrows = [list(map(float, a)) for n, a in enumerate(arrows) if n in outside]
    new_paths = [ways[n] for n in range(len(arrows), len(ways)) if n in outside]
    pins: list[Row] = []
    for label in np.unique(labels[labels > 0]):
        points = region_hints(labels == label, (0, 0), count=_POINTS).points.tolist()
        own = np.flatnonzero(within == label)
        for x, y in points:
            if not len(own):
                pins.append([x, y])
                continue
            nearest = int(own[np.hypot(*(starts[own] - (x, y)).T).argmin()])
            way = ways[nearest]
            by = x - way[0][0], y - way[0][1]
            if nearest < len(arrows):
                new_arrows.append([x, y, *map(float, arrows[nearest][2:])])
            else:
                new_paths.append([[px + by[0], py + by[1]] for px, py in way])
    return new_arrows, pins, new_paths

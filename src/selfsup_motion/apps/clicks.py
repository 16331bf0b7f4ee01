"""Clicks on and beside objects: reading them, and making a mask keep to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.apps.arrows import Rows, check_inside, parse_rows, pixels, read_json, short
from selfsup_motion.data.reading.masks import MOST_OBJECTS
from selfsup_motion.errors import UserError

_DOT = 0.005
"""Radius around a click within which the mask is told, as a share of the photo's short side."""


@dataclass(frozen=True)
class Clicks:
    """Points on and beside one object: (K, 2) and (L, 2) float32, x, y.

    K is 0 only for an object that was painted instead, see `apps.corrections`.
    """

    positive: NDArray[np.float32]
    negative: NDArray[np.float32]

    def among(self, others: Sequence[Clicks]) -> Clicks:
        """The same, with the points on other objects beside this one."""
        points = [self.negative, *(other.positive for other in others)]
        return Clicks(self.positive, np.concatenate(points))


def clicks_of(
    positive: Rows,
    negative: Rows,
    objects: str | Sequence[Mapping[str, Any]] | None,
    size: tuple[int, int],
    painted: Collection[int] = (),
) -> list[Clicks]:
    """Clicks of the objects of a photo, from the arguments of `annotate`.

    Args:
        positive: [[x, y], ...] on the only object.
        negative: [[x, y], ...] beside it.
        objects: instead of those two, for several: see `read_clicks`, or a JSON file of that.
        size: (height, width) of the photo.
        painted: numbers of objects that need no point, see `read_clicks`.

    Raises:
        UserError: as `read_clicks`, too many objects, or `objects` beside the others.
    """
    several = objects is not None
    content: Any = [{"positive": positive, "negative": negative}]
    where = "positive, negative"
    if several:
        if len(positive) or len(negative):
            raise UserError("objects has its own points: leave positive and negative out.")
        where, content = "objects", objects
    if isinstance(content, str):
        where, content = content, read_json(content, "objects", "[{positive:[[x,y]]}]")
    clicks = read_clicks(content, where, size, numbered=several, painted=painted)
    if len(clicks) > MOST_OBJECTS:
        raise UserError(f"{where}: an indexed PNG holds at most {MOST_OBJECTS} objects.")
    return clicks


def read_clicks(
    content: Any,
    where: str,
    size: tuple[int, int],
    *,
    numbered: bool,
    painted: Collection[int] = (),
) -> list[Clicks]:
    """Clicks of one object after the other.

    Args:
        content: [{"positive": [[x, y], ...], "negative": [[x, y], ...]}, ...].
        where: what the content is called in messages.
        size: (height, width) of the photo.
        numbered: tell in messages which object it is.
        painted: numbers of objects, from 1, that need no point because they are painted.

    Raises:
        UserError: naming the entry: something else, a point outside the photo, or one pixel that is
            clicked as on and as beside an object.
    """
    if not isinstance(content, Sequence) or isinstance(content, str) or not content:
        raise UserError(f"{where}: expected a list of objects, got {short(content)}.")
    clicks = [
        _clicks_of(entry, f"{where}, object {number}" if numbered else "", size, number in painted)
        for number, entry in enumerate(content, start=1)
    ]
    _check_agreement(clicks, where if numbered else "", size)
    return clicks


def constrained(score: NDArray[np.float32], clicks: Clicks) -> NDArray[np.float32]:
    """A score that the clicks have the last word about.

    Args:
        score: (H, W) in [0, 1].
        clicks: on and beside the object.

    Returns:
        (H, W): the score, but 1 around the positive points and 0 around the negative ones, as far
        as a two-hundredth of the short side, and a pixel at least; between two, the nearer one
        decides.
    """
    told, size = score.copy(), (score.shape[0], score.shape[1])
    for window, nearer in _dots(clicks.positive, clicks.negative, size):
        told[window][nearer] = 1
    for window, nearer in _dots(clicks.negative, clicks.positive, size):
        told[window][nearer] = 0
    return told


def clicked_parts(mask: NDArray[np.bool_], points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The connected parts of a mask (H, W) that a point (K, 2) lies in."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    x, y = pixels(points, (mask.shape[0], mask.shape[1])).T
    kept = np.unique(parts[y, x])
    return np.isin(parts, kept[kept > 0])


def dots(points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W): the pixels that `constrained` may tell around points (K, 2)."""
    told = np.zeros(size, np.bool_)
    for window, near in _dots(points, points[:0], size):
        told[window] |= near
    return told


def _dots(
    points: NDArray[np.float32], others: NDArray[np.float32], size: tuple[int, int]
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """For each point, a window of the picture and where in it the point is near, and nearer than
    any of the others. Only windows are looked at: photos are large, and dots small."""
    radius = max(1.0, _DOT * min(size))
    reach = int(radius)
    beside = pixels(others, size)
    for x, y in pixels(points, size).tolist():
        top, left = max(0, y - reach), max(0, x - reach)
        window = slice(top, y + reach + 1), slice(left, x + reach + 1)
        rows = np.arange(top, min(size[0], y + reach + 1))[:, None]
        columns = np.arange(left, min(size[1], x + reach + 1))
        distance = (columns - x) ** 2 + (rows - y) ** 2
        near = distance <= radius**2
        for ox, oy in beside[np.abs(beside - (x, y)).max(1, initial=0) <= 2 * reach].tolist():
            near &= distance < (columns - ox) ** 2 + (rows - oy) ** 2
        yield window, near


def _clicks_of(entry: Any, place: str, size: tuple[int, int], painted: bool) -> Clicks:
    if not isinstance(entry, Mapping) or not entry.keys() <= {"positive", "negative"}:
        raise UserError(
            f'{place}: expected {{"positive": [[x, y], ...], "negative": [[x, y], ...]}}, got '
            f"{short(entry)}."
        )
    found = []
    where_first = f"{place}, positive" if place else "positive"
    for kind in ("positive", "negative"):
        where = f"{place}, {kind}" if place else kind
        rows = parse_rows(entry.get(kind, []), where, 2, "x, y")
        check_inside(rows, where, size, "point")
        found.append(rows.astype(np.float32))
    if not len(found[0]) and not painted:
        raise UserError(f"{where_first}: no point on the object; give at least one, as [[x,y]].")
    return Clicks(*found)


def _check_agreement(clicks: Sequence[Clicks], where: str, size: tuple[int, int]) -> None:
    """Refuse a pixel that is on an object and beside it, or on two objects."""
    owners: dict[tuple[int, int], tuple[int, str]] = {}
    for number, one in enumerate(clicks, start=1):
        of = f" of object {number}" if where else ""
        for index, (x, y) in enumerate(pixels(one.positive, size).tolist(), start=1):
            told = f"positive point {index}{of}"
            owner, first = owners.setdefault((x, y), (number, told))
            if owner != number:
                raise UserError(_contradiction(where, told, first, x, y))
        for index, (x, y) in enumerate(pixels(one.negative, size).tolist(), start=1):
            owner, first = owners.get((x, y), (0, ""))
            if owner == number:
                raise UserError(_contradiction(where, f"negative point {index}{of}", first, x, y))


def _contradiction(where: str, one: str, other: str, x: int, y: int) -> str:
    return (
        f"{where + ': ' if where else ''}{one} and {other} are on the same pixel, x={x}, y={y}: "
        "leave one of them out."
    )

"""Arrows and pins, from the command line or from a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.errors import UserError

Rows = Sequence[Sequence[float]]

_KINDS = {"arrows", "pins", "paths"}
_MOST = 1e6
"""Pixels: no photo is so large."""


@dataclass(frozen=True)
class ArrowSet:
    """What is to move and what is not, in pixels of the upright photo.

    Attributes:
        name: of its results' folder.
        points: (K, 2) float32, x, y.
        vectors: (K, 2) float32: where the points go in all; zero for those that stay.
        notes: what a person may not have meant, a sentence each.
        paths: (N, 2) float32 each, x, y: ways of further points, from where each begins.
    """

    name: str
    points: NDArray[np.float32]
    vectors: NDArray[np.float32]
    notes: tuple[str, ...] = ()
    paths: tuple[NDArray[np.float32], ...] = ()

    def as_rows(self) -> list[list[float]]:
        """[[x, y, dx, dy], ...] of the arrows and pins."""
        rows: list[list[float]] = np.concatenate([self.points, self.vectors], 1).tolist()
        return rows

    def as_json(self) -> dict[str, Any]:
        """What a file that `arrow_sets` reads holds."""
        paths = [path.tolist() for path in self.paths]
        return {"arrows": self.as_rows(), **({"paths": paths} if paths else {})}

    def resized(self, size: tuple[int, int], to: tuple[int, int]) -> ArrowSet:
        """The same on a photo that was resized.

        Args:
            size: (height, width) of the photo that the arrows are of.
            to: that of its copy.
        """
        if size == to:
            return self
        scale = np.array([to[1] / size[1], to[0] / size[0]], np.float32)

        def there(places: NDArray[np.float32]) -> NDArray[np.float32]:
            # pixel centres are whole numbers, so a photo begins at -0.5
            return np.asarray((places + np.float32(0.5)) * scale - np.float32(0.5), np.float32)

        return replace(
            self,
            points=there(self.points),
            vectors=np.asarray(self.vectors * scale, np.float32),
            paths=tuple(there(path) for path in self.paths),
        )

    def at(self, share: float) -> ArrowSet:
        """Arrows alone, to where everything is after a share of the time: along paths, points move
        at an even speed."""
        places = [_along(path, share) for path in self.paths]
        starts = [path[0] for path in self.paths]
        points = np.concatenate([self.points, np.reshape(starts, (-1, 2))])
        moved = np.reshape(places, (-1, 2)) - np.reshape(starts, (-1, 2))
        vectors = np.concatenate([self.vectors * share, moved])
        return replace(
            self, points=points.astype(np.float32), vectors=vectors.astype(np.float32), paths=()
        )


def _along(path: NDArray[np.float32], share: float) -> NDArray[np.float64]:
    """(2,): the place on a path (N, 2) after a share of its length."""
    lengths = np.hypot(*np.diff(path.astype(np.float64), axis=0).T)
    passed = np.concatenate([[0.0], np.cumsum(lengths)])
    return np.array([np.interp(share * passed[-1], passed, part) for part in path.T])


def arrow_sets(arrows: str | Rows, pins: Rows, size: tuple[int, int]) -> list[ArrowSet]:
    """Read arrows and make sure that they can be followed.

    An arrow is [x, y, dx, dy]: the point (x, y) moves by (dx, dy); one of length zero is a pin. A
    pin is [x, y]: the point stays. Pixel centres are whole numbers. A file holds a list of arrows,
    or {"arrows": [...], "pins": [...]}, or several of those by name: {"wave": {...}, "nod": {...}}.
    Beside arrows there may be "paths": [[[x, y], [x, y], ...], ...], ways that points go, each from
    its first place on. No pixel may be told to move in two ways.

    Args:
        arrows: a list, or the path of a JSON file.
        pins: added to those of each set.
        size: (height, width) of the photo.

    Raises:
        UserError: naming the file and the entry.
    """
    common = parse_rows(pins, "pins", 2, "x, y")
    if isinstance(arrows, str):
        where, content = arrows, read_json(arrows, "arrows", "[[x,y,dx,dy]]")
    else:
        where, content = "arrows", arrows
    return sets_of(content, where, size, common)


def sets_of(
    content: Any, where: str, size: tuple[int, int], common: NDArray[np.float64] | None = None
) -> list[ArrowSet]:
    """What a file that `arrow_sets` reads holds.

    Args:
        content: of the file.
        where: to call it.
        size: (height, width) of the photo.
        common: (K, 2): pins of each set.

    Raises:
        UserError: naming the entry.
    """
    if common is None:
        common = np.zeros((0, 2))
    sets = []
    for name, place, part in _parts(content, where):
        own_arrows, own_pins = part.get("arrows", []), part.get("pins", [])
        paths = _paths(part.get("paths", []), f"{place} (paths)", size)
        moving = parse_rows(own_arrows, place, 4, "x, y, dx, dy")
        still = np.concatenate([common, parse_rows(own_pins, f"{place} (pins)", 2, "x, y")])
        check_inside(moving, place, size, "arrow")
        check_inside(still, f"{place} (pins)", size, "pin")
        if not moving[:, 2:].any() and not paths:
            raise UserError(f"{place}: all arrows have length zero, so nothing would move.")
        still = np.concatenate([still, np.zeros_like(still)], 1)
        rows = np.concatenate([moving, still]).astype(np.float32)
        names = [f"arrow {n + 1}" for n in range(len(moving))]
        names += [f"pin {n + 1}" for n in range(len(still))]
        ends = [[*path[0], *(path[-1] - path[0])] for path in paths]
        together = np.concatenate([rows, np.array(ends, np.float32).reshape(-1, 4)])
        names += [f"path {n + 1}" for n in range(len(paths))]
        _check_agreement(together, names, place, size)
        pins_too = [who for who, row in zip(names, moving, strict=False) if not row[2:].any()]
        note = f"{place}: {', '.join(pins_too)} has length zero and is used as a pin."
        notes = (note,) if pins_too else ()
        sets.append(ArrowSet(name, rows[:, :2], rows[:, 2:], notes, paths))
    return sets


def pixels(points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """(K, 2): the pixels x, y that points (K, 2) of a picture of (height, width) lie in."""
    places = np.floor(np.asarray(points, np.float64) + 0.5).astype(np.int64)
    return np.clip(places, 0, (size[1] - 1, size[0] - 1))


def _check_agreement(
    rows: NDArray[np.float32], names: Sequence[str], place: str, size: tuple[int, int]
) -> None:
    """Refuse a pixel that is told to move in two ways, or to move and to stay."""
    first: dict[tuple[int, int], int] = {}
    for number, (x, y) in enumerate(pixels(rows[:, :2], size).tolist()):
        other = first.setdefault((x, y), number)
        if (rows[other, 2:] != rows[number, 2:]).any():
            raise UserError(
                f"{place}: {names[other]} and {names[number]} begin on the same pixel, x={x}, "
                f"y={y}, but contradict each other: leave one of them out."
            )


def read_json(path: str, key: str, example: str) -> Any:
    """The content of a JSON file named by the key `key`, which also takes a list like `example`."""
    try:
        return parsed_json(Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(
            f"{key}={path}: {error.strerror}; give a JSON file, or a list as in {key}={example}."
        ) from error


def _paths(rows: Any, place: str, size: tuple[int, int]) -> tuple[NDArray[np.float32], ...]:
    """(N, 2) each, N at least 2; the first place of each is in the photo, and they go somewhere."""
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise UserError(f"{place}: expected a list of [[x, y], [x, y], ...], got {short(rows)}.")
    found = []
    for number, path in enumerate(rows, start=1):
        steps = parse_rows(path, f"{place}, path {number}", 2, "x, y")
        if len(steps) < 2 or not (steps[1:] != steps[0]).any():
            raise UserError(f"{place}: path {number} stays where it begins; leave it out.")
        check_inside(steps[:1], f"{place}, path {number}", size, "place")
        found.append(steps.astype(np.float32))
    return tuple(found)


def _parts(content: Any, where: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, what to call it, what it holds by kind) of each set."""
    if isinstance(content, dict) and content.keys() & _KINDS:
        return [_part("", content, where)]
    if isinstance(content, dict) and content:
        return [_part(name, part, f"{where}, {name}") for name, part in content.items()]
    return [("", where, {"arrows": content})]


def _part(name: str, part: Any, place: str) -> tuple[str, str, dict[str, Any]]:
    if isinstance(part, list):
        part = {"arrows": part}
    moves = isinstance(part, dict) and part.keys() & {"arrows", "paths"}
    if not moves or not part.keys() <= _KINDS:
        raise UserError(
            f'{place}: expected {{"arrows": [[x, y, dx, dy], ...], "pins": [[x, y], ...]}}, got '
            f"{short(part)}."
        )
    if name and not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"{place}: names of sets may only have letters, digits, - and _.")
    return name, place, part


def parse_rows(rows: Any, place: str, length: int, meaning: str) -> NDArray[np.float64]:
    """Lists of `length` finite numbers as (K, length); errors name the place and the entry."""
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise UserError(f"{place}: expected a list of [{meaning}], got {short(rows)}.")
    if len(rows) == length and all(_is_number(value) for value in rows):
        raise UserError(
            f"{place}: expected a list of [{meaning}], got a single one: "
            f"write {short([list(rows)])}."
        )
    for number, row in enumerate(rows, start=1):
        fits = isinstance(row, Sequence) and not isinstance(row, str) and len(row) == length
        if not fits or not all(_is_number(value) for value in row):
            raise UserError(
                f"{place}: entry {number} is {short(row)}, expected [{meaning}] in pixels."
            )
    return np.array(rows, np.float64).reshape(-1, length)


def check_inside(
    rows: NDArray[np.float64],
    place: str,
    size: tuple[int, int],
    kind: str,
    picture: str = "upright photo",
) -> None:
    """Refuse points (K, 2...) outside a picture of (height, width)."""
    height, width = size
    for number, (x, y) in enumerate(rows[:, :2], start=1):
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise UserError(
                f"{place}: {kind} {number} is at x={x:g}, y={y:g}, outside of the {picture}, "
                f"which is {width} pixels wide and {height} high."
            )


def _is_number(value: Any) -> bool:
    """Whether it is one that pixels can be counted in."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST


def short(value: Any) -> str:
    """A value for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."

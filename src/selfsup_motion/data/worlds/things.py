"""Things: what they look like where they are, and how their pieces move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.worlds.cutouts import Cutouts
from selfsup_motion.data.worlds.photos import Photos
from selfsup_motion.data.worlds.shapes import Points, area, capsule, draw, outline, rotation
from selfsup_motion.data.worlds.textures import Textures

_FINE = 2
"""Masks are drawn so much larger, for soft edges."""
_MARGIN = 5
"""Pixels beside a thing that its blurred edge may reach."""
_LEAST = 4
"""Pixels: a window with a shorter side shows nothing of a thing."""

_BODY = -1
"""What the first segment of a limb is joined to, before the body has its place among the parts."""

Affine = NDArray[np.float64]
"""(2, 3): where x, y go."""

AT_REST: Affine = np.array([[1.0, 0, 0], [0, 1.0, 0]])


@dataclass(frozen=True)
class Piece:
    """What moves as one.

    Attributes:
        picture: (h, w, 3) float32 RGB in [0, 255], in its thing's window.
        cover: (h, w) float32 in [0, 1], how much of a pixel it covers.
        motion: of its pixels, x and y in the whole picture.
    """

    picture: NDArray[np.float32]
    cover: NDArray[np.float32]
    motion: Affine


@dataclass(frozen=True)
class Window:
    """The part of the picture that a thing can be seen in, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def around(cls, points: Points, size: tuple[int, int]) -> Window:
        """Holds an outline, as far as it lies in the picture, with a margin for soft edges."""
        low = np.clip(np.floor(points.min(0)) - _MARGIN, 0, (size[1], size[0])).astype(int)
        high = np.clip(np.ceil(points.max(0)) + _MARGIN + 1, 0, (size[1], size[0])).astype(int)
        return cls(int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0]))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def corner(self) -> tuple[int, int]:
        """x, y of the first pixel."""
        return self.left, self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Cuts it out of the picture."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


@dataclass(frozen=True)
class Joint:
    """Where two pieces of a thing are joined: both carry it to the same place.

    Attributes:
        at: x, y in the whole picture; it may lie outside.
        pieces: indices of the two.
    """

    at: NDArray[np.float64]
    pieces: tuple[int, int]


@dataclass(frozen=True)
class Thing:
    """What hangs together, its pieces back to front, and the joints of some of them."""

    window: Window
    pieces: list[Piece]
    joints: tuple[Joint, ...] = ()


def draw_thing(
    size: tuple[int, int],
    share: float,
    moves: bool,
    textures: Textures,
    photos: Photos | None,
    cutouts: Cutouts | None,
    rng: np.random.Generator,
) -> Thing | None:
    """One thing at a random place.

    Args:
        size: (height, width) of the picture.
        share: of the picture that the thing takes, about.
        moves: otherwise it rests.
        textures: to coat it with.
        photos: parts of them are coats, too; None: only textures are.
        cutouts: real things to paste; None: only drawn ones.
        rng: all randomness.

    Returns:
        None if it lies outside.
    """
    height, width = size
    # centres near the border are as likely as others: photos cut things off
    centre = rng.uniform(0.08, 0.92, 2) * (width, height)
    motion = draw_motion(centre, size, rng) if moves else AT_REST
    if cutouts is not None and rng.random() < 0.5:
        return _pasted(size, share, centre, motion, cutouts, rng)
    radius = np.sqrt(share * height * width / np.pi)
    joints: list[Joint] = []
    if rng.random() < 0.25:
        parts, joints = _jointed(radius, centre, motion, moves, rng)
    else:
        parts = [(outlines, motion) for outlines in _together(radius, centre, rng)]
    window = Window.around(np.concatenate([outlines[0] for outlines, _ in parts]), size)
    if min(window.size) < _LEAST:
        return None
    coats = [_coat(window.size, textures, photos, rng) for _ in parts]
    pieces = [
        Piece(coat, _cover(window, outlines), moved)
        for coat, (outlines, moved) in zip(coats, parts, strict=True)
    ]
    return Thing(window, pieces, tuple(joints))


def _coat(
    size: tuple[int, int], textures: Textures, photos: Photos | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    if photos is not None and rng.random() < 0.35:
        light = rng.uniform(0.6, 1.3) * (1 + rng.normal(0, 0.1, 3))
        return photos.crop(size, rng) * light.astype(np.float32)
    return textures.coat(size, rng)


def draw_motion(
    centre: NDArray[np.float64], size: tuple[int, int], rng: np.random.Generator
) -> Affine:
    """A shift, mostly; often with a turn, a change of size or a shear about the centre."""
    side = min(size)
    length = side * np.exp(rng.uniform(np.log(0.015), np.log(0.075)))
    direction = rng.uniform(0, 2 * np.pi)
    shift = length * np.array([np.cos(direction), np.sin(direction)])
    linear = np.eye(2)
    if rng.random() < 0.45:
        linear = rotation(rng.normal(0, 0.06)) @ linear
    if rng.random() < 0.3:
        linear = linear * np.exp(rng.normal(0, 0.03))
    if rng.random() < 0.15:
        linear = linear + rng.normal(0, 0.03, (2, 2))
    return np.column_stack([linear, centre - linear @ centre + shift])


def flow_of(
    motion: Affine, size: tuple[int, int], corner: tuple[int, int] = (0, 0)
) -> NDArray[np.float32]:
    """(2, h, w): the displacement of every pixel of a window.

    Args:
        motion: in the whole picture.
        size: (height, width) of the window.
        corner: x, y of its first pixel.
    """
    along_x, along_y, still = (motion - AT_REST).astype(np.float32).T
    x = np.arange(corner[0], corner[0] + size[1], dtype=np.float32)
    y = np.arange(corner[1], corner[1] + size[0], dtype=np.float32)
    rows = along_y[:, None] * y + still[:, None]
    return np.asarray(along_x[:, None, None] * x + rows[..., None], np.float32)


def _together(
    radius: float, centre: NDArray[np.float64], rng: np.random.Generator
) -> list[list[Points]]:
    """Outlines of one to six parts that belong together; the second of a part is a hole."""
    count = int(rng.choice(6, p=[0.25, 0.25, 0.2, 0.15, 0.1, 0.05])) + 1
    main = outline(rng)
    parts = [[main]]
    for _ in range(count - 1):
        at = main[rng.integers(len(main))] * rng.uniform(0, 1.1)
        parts.append([outline(rng) * rng.uniform(0.25, 0.7) + at])
    if rng.random() < 0.08:
        parts[0].append(outline(rng) * rng.uniform(0.2, 0.5))
    if rng.random() < 0.3:  # the main part in front of the others
        parts.reverse()
    covered = area(main) + 0.5 * sum(area(p[0]) for p in parts if p[0] is not main)
    scale = radius * np.sqrt(np.pi / max(covered, 0.5))
    return [[points * scale + centre for points in part] for part in parts]


def _jointed(
    radius: float,
    centre: NDArray[np.float64],
    motion: Affine,
    moves: bool,
    rng: np.random.Generator,
) -> tuple[list[tuple[list[Points], Affine]], list[Joint]]:
    """A body with limbs of one or two segments that may turn about their joints."""
    body = outline(rng) * radius * 0.75 + centre
    bends = moves and rng.random() < 0.4
    parts: list[tuple[list[Points], Affine]] = []
    joined: list[tuple[NDArray[np.float64], int]] = []  # each segment's joint, and to what
    for _ in range(int(rng.integers(2, 6))):
        joint = centre + (body[rng.integers(len(body))] - centre) * 0.85
        away = np.arctan2(*(joint - centre)[::-1]) + rng.normal(0, 0.5)
        width = radius * rng.uniform(0.15, 0.45)
        moved, before = motion, _BODY
        for _ in range(int(rng.integers(1, 3))):
            end = joint + radius * rng.uniform(0.5, 1.1) * np.array([np.cos(away), np.sin(away)])
            if bends:
                turn = rotation(rng.normal(0, 0.15))
                moved = _after(moved, np.column_stack([turn, joint - turn @ joint]))
            joined.append((joint, before))
            before = len(parts)
            parts.append(([capsule(joint, end, (width, width * rng.uniform(0.5, 1.1)))], moved))
            joint, width, away = end, 0.8 * width, away + rng.normal(0, 0.6)
    depth = int(rng.integers(len(parts) + 1))
    parts.insert(depth, ([body], motion))

    def placed(part: int) -> int:
        return depth if part == _BODY else part + (part >= depth)

    return parts, [Joint(at, (placed(to), placed(part))) for part, (at, to) in enumerate(joined)]


def _pasted(
    size: tuple[int, int],
    share: float,
    centre: NDArray[np.float64],
    motion: Affine,
    cutouts: Cutouts,
    rng: np.random.Generator,
) -> Thing | None:
    picture: Any
    mask: Any
    picture, mask = cutouts.thing(rng)
    inside = max(1, int((mask > 0.5).sum()))
    scale = np.sqrt(share * size[0] * size[1] / inside)
    scale = min(scale, 2.5)  # what is enlarged more is a blur
    small = max(2, round(mask.shape[0] * scale)), max(2, round(mask.shape[1] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(picture, small[::-1], interpolation=way)
    mask = cv2.resize(mask, small[::-1], interpolation=way)
    turn = rotation(rng.normal(0, 0.15))
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    y, x = np.nonzero(mask > 0.5)
    if len(x) == 0:
        return None
    seen = np.stack([x, y], -1)
    place = np.column_stack([turn, centre - turn @ seen.mean(0)])
    window = Window.around(seen @ turn.T + place[:, 2], size)
    if min(window.size) < _LEAST:
        return None
    place[:, 2] -= window.corner
    where, flags = (window.width, window.height), cv2.INTER_LINEAR
    moved = cv2.warpAffine(picture, place, where, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(mask, place, where, flags=flags)
    light = rng.uniform(0.75, 1.25) * (1 + rng.normal(0, 0.06, 3)).astype(np.float32)
    piece = Piece(np.asarray(moved * light, np.float32), np.asarray(cover, np.float32), motion)
    return Thing(window, [piece])


def _cover(window: Window, outlines: list[Points]) -> NDArray[np.float32]:
    layer = np.zeros((window.height * _FINE, window.width * _FINE), np.uint8)
    for number, points in enumerate(outlines):
        inside = points - window.corner
        draw(layer, (inside + 0.5) * _FINE - 0.5, 0 if number else 255)
    small = cv2.resize(layer, (window.width, window.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def _after(second: Affine, first: Affine) -> Affine:
    """First one motion, then the other."""
    whole = np.vstack([second, (0, 0, 1)]) @ np.vstack([first, (0, 0, 1)])
    return np.asarray(whole[:2])

"""One still: a background, things in front of it, light, a lens and a camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.worlds.cutouts import Cutouts
from selfsup_motion.data.worlds.photos import Photos
from selfsup_motion.data.worlds.textures import Textures, colour
from selfsup_motion.data.worlds.things import (
    AT_REST,
    Joint,
    Piece,
    Thing,
    draw_motion,
    draw_thing,
    flow_of,
)


@dataclass(frozen=True)
class Still:
    """What there is to see, and where it goes.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        flow: (2, H, W) float32, pixels to the next moment.
        things: (H, W) uint8: 0 the background, k the k-th thing.
        moving: numbers of the things that move.
        pieces: (H, W) uint8: 0 the background, otherwise a number of its own for each piece of a
            thing that moves as one, bending aside.
        joints: (J, 2) float32: x, y where two pieces are joined, in the picture or outside.
        joined: (J, 2) int64: the numbers of these pieces; both carry the joint to the same place.
    """

    image: NDArray[np.uint8]
    flow: NDArray[np.float32]
    things: NDArray[np.uint8]
    moving: tuple[int, ...]
    pieces: NDArray[np.uint8]
    joints: NDArray[np.float32]
    joined: NDArray[np.int64]


@dataclass(frozen=True)
class Mixture:
    """What stills are made of.

    Args:
        things: fewest and most things of a scene.
        area: smallest and largest share of the picture that one takes.
        resting: share of the things that rest, beside one that always moves.
        in_place: share of the stills that are frames of real clips with what moved in them; only
            where there are cut-outs.
        photos: share of the backgrounds that are photos; only where there are some.
        bends: share of the moving things that also bend a little.
        camera: share of the stills whose camera moves, so that all pixels do.
    """

    things: tuple[int, int] = (1, 6)
    area: tuple[float, float] = (0.015, 0.5)
    resting: float = 0.5
    in_place: float = 0.3
    photos: float = 0.67
    bends: float = 0.15
    camera: float = 0.0


@dataclass
class _Layers:
    """A still while it is painted, back to front; see `Still`."""

    picture: Any
    flow: NDArray[np.float32]
    things: NDArray[np.uint8]
    pieces: NDArray[np.uint8]
    joints: list[Joint]
    last_piece: int = 0


def render(
    size: tuple[int, int],
    mixture: Mixture,
    textures: Textures,
    photos: Photos | None,
    cutouts: Cutouts | None,
    rng: np.random.Generator,
) -> Still:
    """Draw a still; the same generator gives the same one."""
    if cutouts is not None and rng.random() < mixture.in_place:
        return _filmed(_in_place(size, cutouts, rng), mixture.camera, rng)
    picture: Any
    if photos is not None and rng.random() < mixture.photos:
        picture = photos.crop(size, rng)
    else:
        picture = textures.backdrop(size, rng)
    if rng.random() < 0.25:  # out of focus, behind what is in focus
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.5))
    flow, things, pieces = np.zeros((2, *size), np.float32), *np.zeros((2, *size), np.uint8)
    layers = _Layers(picture, flow, things, pieces, [])
    count = int(rng.integers(mixture.things[0], mixture.things[1] + 1))
    low, high = np.log(mixture.area)
    shares = np.sort(np.exp(rng.uniform(low, high, count)))[::-1]  # large ones are behind, mostly
    always = int(rng.integers(count))
    moving = []
    for number, share in enumerate(shares, 1):
        moves = number - 1 == always or rng.random() >= mixture.resting
        thing = draw_thing(size, float(share), moves, textures, photos, cutouts, rng)
        if thing is None:
            continue
        if rng.random() < 0.35:
            _throw_shadow(picture, thing, rng)
        _paint(layers, thing, number, moves, mixture.bends, rng)
        if moves:
            moving.append(number)
    seen = tuple(number for number in moving if (things == number).any())
    still = Still(
        image=_photograph(picture, rng),
        flow=flow,
        things=things,
        moving=seen,
        pieces=pieces,
        joints=np.array([joint.at for joint in layers.joints], np.float32).reshape(-1, 2),
        joined=np.array([joint.pieces for joint in layers.joints], np.int64).reshape(-1, 2),
    )
    return _filmed(still, mixture.camera, rng)


def _filmed(still: Still, camera: float, rng: np.random.Generator) -> Still:
    """As a camera sees it that may move as well."""
    if camera == 0 or rng.random() >= camera:
        return still
    height, width = still.things.shape
    motion = draw_motion(np.array([width, height]) / 2, (height, width), rng)
    return replace(still, flow=still.flow + flow_of(motion, (height, width)))


def _paint(
    layers: _Layers, thing: Thing, number: int, moves: bool, bends: float, rng: np.random.Generator
) -> None:
    """Put a thing in front of what is there."""
    window, pieces = thing.window, thing.pieces
    bend: Any = 0
    if moves and rng.random() < bends:
        bend = _bend(window.size, pieces[0].motion, rng)
    edge = rng.uniform(0.3, 1.5) if rng.random() < 0.5 else 0.0
    shade = _shade(pieces, rng)
    below, motion = layers.picture[window.slices], layers.flow[(slice(None), *window.slices)]
    numbers, own = layers.things[window.slices], layers.pieces[window.slices]
    first = layers.last_piece + 1
    for one, piece in enumerate(pieces, first):
        cover = cv2.GaussianBlur(piece.cover, (0, 0), edge) if edge else piece.cover
        below += cover[..., None] * (piece.picture * shade - below)
        seen = cover > 0.5
        numbers[seen] = number
        own[seen] = one
        moved = flow_of(piece.motion, window.size, window.corner) + bend if moves else 0
        np.copyto(motion, np.float32(moved), where=seen)
    layers.last_piece += len(pieces)
    layers.joints += [
        Joint(joint.at, (first + joint.pieces[0], first + joint.pieces[1]))
        for joint in thing.joints
    ]


def _in_place(size: tuple[int, int], cutouts: Cutouts, rng: np.random.Generator) -> Still:
    """A crop of a real frame, mirrored and coloured at random; what moved in it moves anew."""
    scene = cutouts.scene(rng)
    height, width = scene.mask.shape
    # the whole frame at the smallest, or down to somewhat more than what moves in it
    least = min(height, width)
    side = int(least * np.exp(rng.uniform(np.log(0.6), 0)))
    y, x = np.nonzero(scene.mask)
    middle = int(rng.integers(len(x)))
    span = np.array([side, round(side * size[1] / size[0])])
    span = np.minimum(span, (height, width))
    slack = np.array([height, width]) - span
    aim = np.array([y[middle], x[middle]]) - rng.uniform(0.2, 0.8, 2) * span
    top, left = np.clip(aim.astype(int), 0, slack)
    window = slice(top, top + span[0]), slice(left, left + span[1])
    scale = np.array([size[1] / span[1], size[0] / span[0]])
    smaller = cv2.INTER_AREA if scale.max() < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(scene.picture[window], size[::-1], interpolation=smaller)
    things = cv2.resize(scene.mask[window], size[::-1], interpolation=cv2.INTER_NEAREST)
    flow = np.zeros((2, *size), np.float32)
    known = rng.random() < 0.5
    moving = []
    for number, motion in enumerate(scene.motions, 1):
        seen = things == number
        if not seen.any():
            continue
        if known:  # as it did
            corner = motion[:, :2] @ (left, top) + motion[:, 2] - (left, top)
            linear = np.diag(scale) @ motion[:, :2] @ np.diag(1 / scale)
            motion = np.column_stack([linear, scale * corner])
            motion = _brought_to(motion, seen, size, rng)
        else:
            rows, columns = np.nonzero(seen)
            motion = draw_motion(np.array([columns.mean(), rows.mean()]), size, rng)
        flow = np.where(seen, flow_of(motion, size), flow)
        moving.append(number)
    if rng.random() < 0.5:
        picture, things = picture[:, ::-1], things[:, ::-1]
        flow = flow[:, :, ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    alone = np.ascontiguousarray(things).astype(np.uint8)
    return Still(
        image=_photograph(picture.astype(np.float32), rng),
        flow=np.ascontiguousarray(flow),
        things=alone,
        moving=tuple(moving),
        pieces=alone,
        joints=np.zeros((0, 2), np.float32),
        joined=np.zeros((0, 2), np.int64),
    )


def _brought_to(
    motion: NDArray[np.float64],
    seen: NDArray[np.bool_],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The same kind of motion, of a usual length."""
    length = float(np.hypot(*flow_of(motion, size))[seen].mean())
    wanted = min(size) * np.exp(rng.uniform(np.log(0.015), np.log(0.075)))
    factor = np.clip(wanted / max(length, 0.1), 0, 8)
    return np.asarray(AT_REST + factor * (motion - AT_REST))


def _bend(
    size: tuple[int, int], motion: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """(2, H, W): a smooth addition to a motion, up to a third as long."""
    length = float(np.hypot(*flow_of(motion, size)).mean())
    knots = rng.normal(0, 0.15 * length, (4, 4, 2)).astype(np.float32)
    smooth = cv2.resize(knots, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth.transpose(2, 0, 1), np.float32)


def _shade(pieces: list[Piece], rng: np.random.Generator) -> NDArray[np.float32]:
    """(h, w, 1): light that falls off across a thing and towards its rim."""
    cover = np.max([piece.cover for piece in pieces], 0)
    height, width = cover.shape
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.8)
    light = 1 + np.float32(fall * np.cos(angle)) * x + np.float32(fall * np.sin(angle)) * y
    if rng.random() < 0.5:
        wide = cv2.GaussianBlur(cover, (0, 0), rng.uniform(1, 0.08 * max(height, width) + 2))
        light = light * (1 - np.float32(rng.uniform(0, 0.8)) * (1 - wide))
    return np.asarray(np.clip(light, 0.2, 1.8)[..., None], np.float32)


def _throw_shadow(picture: NDArray[np.float32], thing: Thing, rng: np.random.Generator) -> None:
    """Darken what lies behind a thing, beside it, in place."""
    window, size = thing.window, picture.shape[:2]
    shift = rng.normal(0, 0.05, 2) * min(size)
    blur, depth = rng.uniform(0.5, 6), np.float32(rng.uniform(0.1, 0.6))
    reach = np.ceil(np.abs(shift) + 3 * blur).astype(int)
    top, left = max(0, window.top - reach[1]), max(0, window.left - reach[0])
    bottom = min(size[0], window.top + window.height + reach[1])
    right = min(size[1], window.left + window.width + reach[0])
    cover = np.max([piece.cover for piece in thing.pieces], 0)
    offset = window.left - left + shift[0], window.top - top + abs(shift[1])
    move = np.array([[1, 0, offset[0]], [0, 1, offset[1]]])
    thrown = cv2.warpAffine(cover, move, (right - left, bottom - top))
    thrown = cv2.GaussianBlur(thrown, (0, 0), blur)
    picture[top:bottom, left:right] *= 1 - depth * thrown[..., None]


def _photograph(picture: Any, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light, exposure, a tint, blur, noise and compression."""
    size = picture.shape[0], picture.shape[1]
    if rng.random() < 0.4:
        knots = rng.normal(1, 0.15, (3, 3)).astype(np.float32)
        picture = picture * cv2.resize(knots, size[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    if rng.random() < 0.5:
        gain = rng.uniform(0.7, 1.3)
        picture = gain * (picture - 128) + 128 + rng.normal(0, 15)
    if rng.random() < 0.3:
        picture = picture + rng.uniform(0, 0.15) * (colour(rng) - picture)
    if rng.random() < 0.05:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.6:
        noise = rng.standard_normal(size, np.float32)[..., None]
        picture = picture + np.float32(rng.uniform(0, 8)) * noise
    image: Any = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(30, 95))
        coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(image)

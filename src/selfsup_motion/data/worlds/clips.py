"""`PhotoClips`: clips made of photos, in front of which things move, rendered on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.toy.motion import Track, Wave, oscillation
from selfsup_motion.data.worlds.cutouts import Cutouts
from selfsup_motion.data.worlds.photos import Photos
from selfsup_motion.data.worlds.textures import Textures
from selfsup_motion.data.worlds.things import AT_REST, Piece, Thing, draw_thing
from selfsup_motion.errors import UserError

_SPLITS = ("train", "val", "test")
_FPS = 12.0
_STAGE = 1.5
"""Side of the scene in sides of the frame: what comes into view has been there before."""
_KEPT_SIDE = 640
"""Pixels: a scene shows half of a photo's short side at the least, which should not be a blur."""


@dataclass(frozen=True)
class _Scene:
    """What there is, and how it and the camera move; times in frames."""

    backdrop: NDArray[np.float32]
    things: list[tuple[Thing, Wave]]
    camera: Track
    light: Wave
    blur: float
    noise: float


class PhotoClips(Source):
    """A source of clips: a camera drifts, turns and zooms over a photo; things pass before it.

    Things are cut-outs of real ones or drawn shapes with the coats of photos. They move to and fro,
    some of them with joints, and hide what is behind them. Light changes a little, and every frame
    has noise of its own. Video i depends on (seed, split, i) and the size alone; any frame can be
    read without the ones before it. The splits show other scenes of the same photos.

    Labels: `masks` (T, H, W) uint8, the things by number, 0 the backdrop.
    """

    def __init__(
        self,
        num_videos: int = 4000,
        *,
        split: Literal["train", "val", "test"] = "train",
        seed: int = 0,
        size: tuple[int, int] | int = 256,
        num_frames: int = 64,
        textures: str | Path | None = None,
        cutouts: str | Path | None = None,
        things: tuple[int, int] = (0, 4),
        area: tuple[float, float] = (0.01, 0.3),
    ) -> None:
        """Define the clips.

        Args:
            num_videos: how many videos the split has.
            split: train, val or test: different scenes of the same kind.
            seed: another seed is another data set.
            size: (height, width) of the frames in pixels, or one side of a square.
            num_frames: frames a video has, meant as 12 per second.
            textures: a folder of photos; None: all backdrops and coats are generated.
            cutouts: a folder that `prepare=cutouts` made; None: all things are drawn.
            things: fewest and most things of a scene.
            area: smallest and largest share of the scene that one takes.

        Raises:
            UserError: a folder without photos or cut-outs, or an argument out of range.
        """
        if split not in _SPLITS:
            raise UserError(f"PhotoClips: split must be one of {', '.join(_SPLITS)}, not {split!r}")
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        for name, value, least in (
            ("num_videos", num_videos, 1),
            ("num_frames", num_frames, 1),
            ("size", min(self.size), 32),
        ):
            if value < least:
                raise UserError(f"PhotoClips: {name} must be at least {least}, not {value}")
        if not 0 <= things[0] <= things[1] <= 255:
            raise UserError(
                f"data.things=[{things[0]}, {things[1]}]: expected two numbers from 0 to 255, the "
                "smaller first."
            )
        if not 0 < area[0] <= area[1] <= 1:
            raise UserError(
                f"data.area=[{area[0]}, {area[1]}]: expected two shares of at most 1, the smaller "
                "first."
            )
        self.num_videos, self.num_frames = num_videos, num_frames
        self.split, self.seed = split, seed
        self.things, self.area = (things[0], things[1]), (area[0], area[1])
        self.photos = None if textures is None else Photos(textures, "data.textures", _KEPT_SIDE)
        self.cutouts = None if cutouts is None else Cutouts(cutouts)
        self.textures = Textures(seed)
        self._scene = lru_cache(maxsize=2)(self._build)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_scene"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._scene = lru_cache(maxsize=2)(self._build)

    def __len__(self) -> int:
        return self.num_videos

    @property
    def no_flow(self) -> str | None:
        return "clips of photos come without it: use data=worlds or data=toy"

    def name(self, index: int) -> str:
        return f"{self.split}/{index}"

    def info(self, index: int) -> VideoInfo:
        if not 0 <= index < self.num_videos:
            raise IndexError(f"there are {self.num_videos} clips of photos, there is no {index}")
        return VideoInfo(self.name(index), self.num_frames, _FPS, *self.size)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Render frames of video `index`."""
        key = self.info(index).key
        outside = [f for f in frame_indices if not 0 <= f < self.num_frames]
        if outside or not frame_indices:
            raise IndexError(
                f"{key} has frames 0 to {self.num_frames - 1}, asked for {list(frame_indices)}"
            )
        scene = self._scene(index)
        shots = [self._frame(scene, index, frame) for frame in frame_indices]
        return Clip(
            frames=np.stack([image for image, _ in shots]).transpose(0, 3, 1, 2),
            key=key,
            times=np.asarray(frame_indices, np.float64) / _FPS,
            labels={"masks": np.stack([owner for _, owner in shots])},
        )

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        """Stream 0 draws video `index` itself, stream 1 + f the noise of frame f."""
        return np.random.default_rng((self.seed, _SPLITS.index(self.split), index, stream))

    def _build(self, index: int) -> _Scene:
        rng = self._rng(index, 0)
        stage = round(_STAGE * self.size[0]), round(_STAGE * self.size[1])
        if self.photos is not None and rng.random() < 0.85:
            backdrop = self.photos.crop(stage, rng, 0.5)
        else:
            backdrop = self.textures.backdrop(stage, rng)
        low, high = np.log(self.area)
        count = int(rng.integers(self.things[0], self.things[1] + 1))
        shares = np.sort(np.exp(rng.uniform(low, high, count)))[::-1]  # large ones are behind
        things = []
        for share in shares:
            moves = rng.random() < 0.85
            thing = draw_thing(
                stage, float(share), moves, self.textures, self.photos, self.cutouts, rng
            )
            if thing is not None:
                things.append((_softened(thing, rng), _to_and_fro(moves, rng)))
        return _Scene(
            np.asarray(backdrop, np.float32),
            things,
            _camera(stage, self.size, rng),
            Wave(1.0, rng.uniform(0, 0.12), rng.uniform(0.02, 0.3), rng.uniform(0, 2 * np.pi)),
            rng.uniform(0.3, 1.0) if rng.random() < 0.3 else 0.0,
            rng.uniform(0, 5),
        )

    def _frame(
        self, scene: _Scene, index: int, frame: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(H, W, 3) RGB and (H, W) numbers of things."""
        where = self.size[::-1]
        camera = scene.camera(frame)
        image: Any = cv2.warpAffine(
            scene.backdrop, camera[:2], where, borderMode=cv2.BORDER_REFLECT_101
        )
        owner = np.zeros(self.size, np.uint8)
        for number, (thing, wave) in enumerate(scene.things, 1):
            for piece in thing.pieces:
                place = camera @ _pose(piece, wave(frame)) @ _shift(thing.window.corner)
                cover = cv2.warpAffine(piece.cover, place[:2], where)
                picture = cv2.warpAffine(
                    piece.picture, place[:2], where, borderMode=cv2.BORDER_REPLICATE
                )
                image += cover[..., None] * (picture - image)
                owner[cover > 0.5] = number
        if scene.blur:
            image = cv2.GaussianBlur(image, (0, 0), scene.blur)
        noise = self._rng(index, 1 + frame).standard_normal(self.size, np.float32)
        levels = image * np.float32(scene.light(frame)) + np.float32(scene.noise) * noise[..., None]
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8), owner


def _softened(thing: Thing, rng: np.random.Generator) -> Thing:
    """With the soft edges of a lens, half of the time."""
    if rng.random() < 0.5:
        return thing
    edge = rng.uniform(0.3, 1.2)
    pieces = [
        Piece(p.picture, np.asarray(cv2.GaussianBlur(p.cover, (0, 0), edge), np.float32), p.motion)
        for p in thing.pieces
    ]
    return Thing(thing.window, pieces)


def _to_and_fro(moves: bool, rng: np.random.Generator) -> Wave:
    """How often its motion a thing has made at a time."""
    if not moves:
        return Wave()
    peak = float(np.exp(rng.uniform(np.log(0.05), np.log(0.6))))
    size, frequency = oscillation(rng, peak, (0.8, 4.0))
    return Wave(amplitude=size, frequency=frequency, phase=rng.uniform(0, 2 * np.pi))


def _pose(piece: Piece, times: float) -> NDArray[np.float64]:
    """(3, 3): where a piece is after so many times its motion. Joints stay together, since the
    motions of both pieces agree there."""
    return np.vstack([AT_REST + times * (piece.motion - AT_REST), (0, 0, 1)])


def _shift(corner: tuple[int, int]) -> NDArray[np.float64]:
    return np.array([[1.0, 0, corner[0]], [0, 1, corner[1]], [0, 0, 1]])


def _camera(stage: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> Track:
    """Scene to frame: mostly drifts, often turns or zooms, a quarter of the time rests."""
    side = min(size)
    rest = Track(
        x=Wave(size[1] / 2),
        y=Wave(size[0] / 2),
        log_scale=Wave(rng.uniform(-0.1, 0.3)),
        pivot=(stage[1] / 2, stage[0] / 2),
    )
    if rng.random() < 0.25:
        return rest

    def wave(offset: float, peak: tuple[float, float], most: tuple[float, float]) -> Wave:
        rate = float(np.exp(rng.uniform(*np.log(peak))))
        amplitude, frequency = oscillation(rng, rate, most)
        return Wave(offset, amplitude, frequency, rng.uniform(0, 2 * np.pi))

    shifts = (0.001 * side, 0.015 * side), (0.05 * side, 0.2 * side)
    angle = wave(0, (0.001, 0.03), (0.05, 0.3)) if rng.random() < 0.4 else Wave()
    zoom = rest.log_scale
    if rng.random() < 0.4:
        zoom = wave(zoom.offset, (0.001, 0.015), (0.05, 0.25))
    return Track(
        wave(rest.x.offset, *shifts), wave(rest.y.offset, *shifts), angle, zoom, rest.pivot
    )

"""What is in one toy world: a background, rigid sprites and perhaps a puppet, each with its track.

Lengths are drawn as fractions of the shorter image side, so a world looks alike at every size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.toy.appearance import (
    CLASSES,
    SHAPES,
    capsule_mask,
    related_colours,
    shaded,
    sprite_mask,
    texture,
)
from selfsup_motion.data.toy.motion import PATTERNS, Affine, Pattern, Track, Wave, oscillation
from selfsup_motion.data.worlds.textures import Textures
from selfsup_motion.errors import UserError

LIMBS: tuple[str, ...] = ("head", "left_arm", "right_arm", "left_leg", "right_leg", "tail")
"""Limbs that a puppet can have. Part ids: 0 = no puppet, 1 = torso, 2 + i = LIMBS[i]."""

JOINTS: tuple[str, ...] = (
    "torso",
    *(f"{limb}_{end}" for limb in LIMBS for end in ("root", "tip")),
)
"""The K = 13 joints of `Clip.labels["keypoints"]`."""

_LIMB_DIRECTION = {  # heading at rest, where on the torso (in half lengths), length, width
    "head": (-0.5 * np.pi, (0.0, -0.95), 0.35, 0.75),
    "left_arm": (np.pi - 0.5, (-0.6, -0.6), 0.95, 0.42),
    "right_arm": (0.5, (0.6, -0.6), 0.95, 0.42),
    "left_leg": (0.5 * np.pi + 0.4, (-0.45, 0.75), 1.0, 0.48),
    "right_leg": (0.5 * np.pi - 0.4, (0.45, 0.75), 1.0, 0.48),
    "tail": (0.5 * np.pi + 1.2, (0.0, 0.9), 0.8, 0.34),
}


@dataclass(frozen=True)
class Difficulty:
    """What makes a toy world hard. Lengths are fractions of the shorter side, times in frames."""

    num_sprites: tuple[int, int] = (1, 3)
    """Fewest and most rigid sprites."""
    puppet: float = 0.8
    """Probability that the world has a puppet."""
    limbs: tuple[int, int] = (3, 6)
    """Fewest and most limbs of the puppet."""
    object_size: tuple[float, float] = (0.28, 0.48)
    """Diameter of sprites; a puppet is about 1.5 times as tall."""
    speed: tuple[float, float] = (0.01, 0.08)
    """Peak speed of an object along its path, per frame."""
    rotation: float = 0.12
    """Fastest additional turning of a sprite, and of a limb on its joint, rad per frame."""
    camera_speed: float = 0.02
    """Fastest camera translation per frame."""
    camera_rotation: float = 0.012
    """Fastest camera rotation, rad per frame."""
    camera_zoom: float = 0.006
    """Fastest camera zoom, change of log scale per frame."""
    colour_similarity: float = 0.05
    """Base colours differ by at most this (range 0 to 1) from another object's or the ground's."""
    texture_cells: tuple[float, ...] = (0.047, 0.094, 0.188)
    """Grain of the textures: 6, 12 and 24 px at 128 px. Finer grain is lost at stride 4."""
    contrast: float = 0.12
    """Deviation of the objects' texture in brightness, range 0 to 1."""
    background_contrast: float = 0.025
    """Likewise of the background's."""
    shading: float = 0.3
    """How much darker objects are at their rims than inside, as round things are; 0 to 1."""
    chroma: float = 0.03
    """Deviation of the textures' hue, range 0 to 1."""
    lighting: float = 0.1
    """Relative size of the slow drift of brightness, tint and side light."""
    noise: float = 2.0
    """Deviation of the sensor noise, grey levels (0 to 255)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = [value] if isinstance(value, int | float) else list(value)
            if numbers != [value]:  # configs bring lists
                object.__setattr__(self, field.name, tuple(numbers))
            if min(numbers) < 0 or (field.name != "texture_cells" and sorted(numbers) != numbers):
                raise UserError(
                    f"Difficulty: {field.name} takes numbers of at least 0, lowest first, "
                    f"got {value}"
                )
        if not 0 <= self.puppet <= 1:
            raise UserError(f"Difficulty: puppet is a probability, got {self.puppet}")
        if self.num_sprites[1] == 0 and self.puppet < 1:
            raise UserError("Difficulty: a world needs an object: num_sprites above 0 or puppet=1")


@dataclass(frozen=True)
class Layer:
    """One rigid piece of picture."""

    image: NDArray[np.float32]
    """(h, w, 4) float32: colour multiplied by alpha, then alpha; range 0 to 1."""
    anchor: tuple[float, float]
    """Where the origin of the object's coordinates is in `image`, (x, y) pixels."""
    track: Track
    """Object coordinates to the parent's (the world's, if there is no parent)."""
    parent: int | None
    """Index of the layer that this one is jointed to."""
    instance: int
    """0 for the background, then 1, 2, … for objects."""
    part: int
    """Puppet part id, 0 for everything else."""


@dataclass(frozen=True)
class Scene:
    """A world without its clock: `layers[0]` is the background, later layers lie on top."""

    layers: tuple[Layer, ...]
    camera: Track
    light: tuple[Wave, Wave, Wave, Wave, Wave]
    """Gain, red against blue, green, side light along x and along y."""
    object_classes: NDArray[np.int64]
    """(N,) class of instance 1, 2, …; indices into `CLASSES`."""
    action: int
    """Which of the patterns the objects follow, by default an index into `ACTIONS`."""
    joints: dict[str, tuple[int, tuple[float, float]]]
    """Joint name to (layer, position in its object coordinates), for the limbs there are."""

    def poses(self, time: float) -> list[Affine]:
        """Object coordinates to camera coordinates (origin: image centre) of every layer."""
        camera = self.camera(time)
        in_world: dict[int, Affine] = {}

        def pose(index: int) -> Affine:
            if index not in in_world:
                layer = self.layers[index]
                own = layer.track(time)
                in_world[index] = own if layer.parent is None else pose(layer.parent) @ own
            return in_world[index]

        return [camera @ pose(index) for index in range(len(self.layers))]


def build_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    difficulty: Difficulty,
    *,
    patterns: Mapping[str, Pattern] = PATTERNS,
    motion: np.random.Generator | None = None,
    textures: Textures | None = None,
) -> Scene:
    """Draw a world for images of `size` = (height, width) pixels.

    Args:
        rng: of what is there and where it stands.
        size: of the images.
        difficulty: what worlds hold.
        patterns: the vocabulary of actions; the objects follow one of them.
        motion: of how things, the light and the camera move; None: `rng`.
        textures: what everything is covered with; None: mottled colours.
    """
    return _Builder(rng, size, difficulty, patterns, motion or rng, textures).build()


class _Builder:
    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[int, int],
        difficulty: Difficulty,
        patterns: Mapping[str, Pattern],
        motion: np.random.Generator,
        textures: Textures | None,
    ) -> None:
        self.rng, self.motion, self.size, self.difficulty = rng, motion, size, difficulty
        self.patterns, self.textures = patterns, textures
        self.side = min(size)
        self.layers: list[Layer] = []
        self.joints: dict[str, tuple[int, tuple[float, float]]] = {}

    def build(self) -> Scene:
        rng, difficulty = self.rng, self.difficulty
        num_sprites = int(rng.integers(difficulty.num_sprites[0], difficulty.num_sprites[1] + 1))
        has_puppet = rng.random() < difficulty.puppet
        action = int(self.motion.integers(len(self.patterns)))
        pattern = list(self.patterns.values())[action]
        colours = related_colours(rng, 1 + num_sprites + has_puppet, difficulty.colour_similarity)

        self._add_background(colours[0])
        kinds = ["sprite"] * num_sprites + ["puppet"] * has_puppet
        classes = []
        for instance, kind in enumerate(rng.permutation(kinds), start=1):
            track = self._object_track(pattern, instance, len(kinds))
            if kind == "puppet":
                self._add_puppet(colours[instance], track, instance)
                classes.append(CLASSES.index("puppet"))
            else:
                shape = str(rng.choice(SHAPES))
                self._add_sprite(shape, colours[instance], track, instance)
                classes.append(CLASSES.index(shape))
        return Scene(
            layers=tuple(self.layers),
            camera=self._camera(),
            light=self._light(),
            object_classes=np.array(classes, np.int64),
            action=action,
            joints=self.joints,
        )

    def _texture(
        self,
        size: tuple[int, int],
        colour: NDArray[np.float64],
        contrast: float,
        *,
        layered: bool = True,
    ) -> NDArray[np.float32]:
        if self.textures is not None:
            coat = self.textures.coat if layered else self.textures.backdrop
            picture = np.clip(coat(size, self.rng) / np.float32(255), 0.02, 0.98)
            return np.asarray(picture, np.float32)
        cells = [max(4.0, cell * self.side) for cell in self.difficulty.texture_cells]
        return texture(self.rng, size, colour, cells, contrast, self.difficulty.chroma)

    def _add_background(self, colour: NDArray[np.float64]) -> None:
        # larger than the view by the camera's reach; beyond it, the picture is mirrored
        height, width = (int(1.4 * length) for length in self.size)
        image = np.ones((height, width, 4), np.float32)
        image[..., :3] = self._texture(
            (height, width), colour, self.difficulty.background_contrast, layered=False
        )
        anchor = ((width - 1) / 2, (height - 1) / 2)
        self.layers.append(Layer(image, anchor, Track(), None, 0, 0))

    def _add_layer(
        self,
        mask: NDArray[np.float32],
        colour: NDArray[np.float64],
        anchor: tuple[float, float],
        track: Track,
        *,
        instance: int,
        parent: int | None = None,
        part: int = 0,
    ) -> int:
        image = np.empty((*mask.shape, 4), np.float32)
        difficulty = self.difficulty
        shade = shaded(mask, difficulty.shading, 0.05 * self.side) * mask
        image[..., :3] = self._texture(mask.shape, colour, difficulty.contrast) * shade[..., None]
        image[..., 3] = mask
        # an empty rim, so that edges are interpolated towards nothing
        image = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        anchor = (anchor[0] + 1, anchor[1] + 1)
        self.layers.append(Layer(image, anchor, track, parent, instance, part))
        return len(self.layers) - 1

    def _object_track(self, pattern: Pattern, instance: int, count: int) -> Track:
        rng, side = self.rng, self.side
        # objects stand round the centre, each in its own sector, so that they rarely pile up
        bearing = 2 * np.pi * (instance + rng.uniform(-0.3, 0.3)) / count
        distance = rng.uniform(0.12, 0.36) if count > 1 else rng.uniform(0, 0.2)
        height, width = self.size
        rest = Track(
            x=Wave(offset=distance * width * np.cos(bearing)),
            y=Wave(offset=distance * height * np.sin(bearing)),
        )
        speed = self.motion.uniform(*self.difficulty.speed) * side
        track = pattern(self.motion, rest, speed, 0.25 * side)
        if track.angle == Wave():
            track = replace(track, angle=self._wobble())
        return track

    def _wobble(self) -> Wave:
        rng = self.motion
        size, frequency = oscillation(rng, rng.uniform(0, self.difficulty.rotation), (0.3, 0.9))
        return Wave(0.0, size, frequency, rng.uniform(0, 2 * np.pi))

    def _add_sprite(
        self, shape: str, colour: NDArray[np.float64], track: Track, instance: int
    ) -> None:
        diameter = max(8, round(self.rng.uniform(*self.difficulty.object_size) * self.side))
        mask = sprite_mask(self.rng, shape, diameter)
        middle = (diameter - 1) / 2
        # the shape itself stands at any angle
        tilt = self.rng.uniform(0, 2 * np.pi)
        track = replace(track, angle=replace(track.angle, offset=track.angle.offset + tilt))
        if track.pivot != (0.0, 0.0):
            cos, sin = np.cos(-tilt), np.sin(-tilt)
            px, py = track.pivot
            track = replace(track, pivot=(cos * px - sin * py, sin * px + cos * py))
        self._add_layer(mask, colour, (middle, middle), track, instance=instance)

    def _add_puppet(self, colour: NDArray[np.float64], track: Track, instance: int) -> None:
        rng = self.rng
        height = rng.uniform(*self.difficulty.object_size) * self.side
        half_length, width = 0.36 * height, 0.5 * height
        count = int(rng.integers(self.difficulty.limbs[0], self.difficulty.limbs[1] + 1))
        chosen = sorted(rng.choice(len(LIMBS), size=min(count, len(LIMBS)), replace=False))
        behind = [limb for limb in chosen if rng.random() < 0.5]
        ahead = [limb for limb in chosen if limb not in behind]

        torso = len(self.layers) + len(behind)
        for limb in behind:
            self._add_limb(LIMBS[limb], colour, half_length, torso, instance)
        mask = np.ascontiguousarray(capsule_mask(2 * half_length - width / 2, width).T)
        anchor = ((mask.shape[1] - 1) / 2, (mask.shape[0] - 1) / 2)
        self._add_layer(mask, colour, anchor, track, instance=instance, part=1)
        self.joints["torso"] = (torso, (0.0, 0.0))
        for limb in ahead:
            self._add_limb(LIMBS[limb], colour, half_length, torso, instance)

    def _add_limb(
        self, limb: str, colour: NDArray[np.float64], scale: float, torso: int, instance: int
    ) -> None:
        heading, (x, y), length, thickness = _LIMB_DIRECTION[limb]
        length, thickness = length * scale * self.rng.uniform(0.85, 1.3), thickness * scale
        wave = self._wobble()
        wave = replace(wave, offset=heading + self.rng.uniform(-0.3, 0.3))
        track = Track(x=Wave(x * 0.6 * scale), y=Wave(y * scale), angle=wave)
        mask = capsule_mask(length, thickness)
        anchor = (thickness / 2 - 0.5, thickness / 2 - 0.5)
        layer = self._add_layer(
            mask, colour, anchor, track,
            instance=instance, parent=torso, part=2 + LIMBS.index(limb),
        )  # fmt: skip
        self.joints[f"{limb}_root"] = (layer, (0.0, 0.0))
        self.joints[f"{limb}_tip"] = (layer, (length, 0.0))

    def _camera(self) -> Track:
        rng, difficulty = self.motion, self.difficulty

        def wave(peak_rate: float, amplitude: tuple[float, float]) -> Wave:
            size, frequency = oscillation(rng, rng.uniform(0, peak_rate), amplitude)
            return Wave(0.0, size, frequency, rng.uniform(0, 2 * np.pi))

        reach = (0.05 * self.side, 0.12 * self.side)
        # translations along x and y add up: each may take 1/sqrt(2) of the speed
        speed = difficulty.camera_speed * self.side / np.sqrt(2)
        return Track(
            x=wave(speed, reach),
            y=wave(speed, reach),
            angle=wave(difficulty.camera_rotation, (0.05, 0.2)),
            log_scale=wave(difficulty.camera_zoom, (0.03, 0.1)),
        )

    def _light(self) -> tuple[Wave, Wave, Wave, Wave, Wave]:
        size = self.difficulty.lighting

        def wave(amplitude: float) -> Wave:
            # periods of 150 frames and more: under 1 % a frame
            frequency = 2 * np.pi / self.motion.uniform(150, 400)
            return Wave(0.0, amplitude, frequency, self.motion.uniform(0, 2 * np.pi))

        return wave(size), wave(size / 3), wave(size / 3), wave(size / 2), wave(size / 2)

"""ToyWorld: the embedded data set, rendered on the fly with exact ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.toy.render import joint_positions, motion_between, render_scene
from selfsup_motion.data.toy.scene import JOINTS, Difficulty, Scene, build_scene
from selfsup_motion.data.toy.vocabularies import Vocabulary, vocabulary
from selfsup_motion.data.worlds.textures import Textures
from selfsup_motion.errors import UserError

Split = Literal["train", "val", "test"]
_SPLITS: tuple[Split, ...] = ("train", "val", "test")

FPS = 25.0
"""Nominal frame rate, so that samplers by frame rate work on toy clips too."""


class ToyWorld(Source):
    """A source of procedural 2-D videos; see `Difficulty` for what is in them.

    Video i depends on (seed, split, i) and the size alone: splits are disjoint, any frame can be
    read without the ones before it, and nothing is stored.

    Every clip carries flow (exact, sub-pixel) with `valid`, and these labels:
    `occlusion` (T-1, H, W) bool; `masks` (T, H, W) uint8 instance ids; `parts` (T, H, W) uint8
    puppet parts (`scene.LIMBS`); `object_classes` (N,) int64 of instances 1 to N
    (`appearance.CLASSES`); `semantic` (T, H, W) uint8 class of every pixel; `keypoints` (T, K, 3)
    float32 (`scene.JOINTS`; x, y, visibility 0 absent, 1 hidden, 2 visible); `action` () int64
    (`actions`); with `looks` also `look` () int64.
    """

    def __init__(
        self,
        num_videos: int = 1000,
        *,
        split: Split = "train",
        seed: int = 0,
        size: tuple[int, int] | int = 128,
        num_frames: int = 64,
        looks: int | None = None,
        vocabulary: Vocabulary = "actions",
        textures: Literal["mottled", "natural"] = "mottled",
        difficulty: Difficulty | None = None,
    ) -> None:
        """Define the world.

        Args:
            num_videos: how many videos the split has.
            split: train, val or test: different worlds of the same kind.
            seed: another seed is another data set.
            size: (height, width) of the frames in pixels, or one side of a square.
            num_frames: frames a video has.
            looks: how many different scenes there are: video i shows scene i mod `looks`, in all
                splits, and only how objects, light and camera move is its own (null: each video
                has its own scene).
            vocabulary: what the objects do, see `vocabularies.vocabulary`.
            textures: mottled colours, or textures with the statistics of photos.
            difficulty: what the worlds hold and how hard they are (null: `Difficulty()`).
        """
        if split not in _SPLITS:
            raise UserError(f"ToyWorld: split must be one of {', '.join(_SPLITS)}, not {split!r}")
        self.num_videos, self.num_frames = num_videos, num_frames
        self.split, self.seed, self.looks = split, seed, looks
        if textures not in ("mottled", "natural"):
            raise UserError(f"ToyWorld: textures must be mottled or natural, not {textures!r}")
        if vocabulary not in get_args(Vocabulary):
            names = ", ".join(get_args(Vocabulary))
            raise UserError(f"ToyWorld: vocabulary must be one of {names}, not {vocabulary!r}")
        self.vocabulary: Vocabulary = vocabulary
        self.textures = Textures(seed, 16, 8) if textures == "natural" else None
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        for name, value, least in (
            ("num_videos", num_videos, 1),
            ("num_frames", num_frames, 1),
            ("size", min(self.size), 32),
            ("looks", 1 if looks is None else looks, 1),
        ):
            if value < least:
                raise UserError(f"ToyWorld: {name} must be at least {least}, not {value}")
        self.difficulty = difficulty or Difficulty()
        self._scene = lru_cache(maxsize=2)(self._build)

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the action labels, in label order."""
        return tuple(vocabulary(self.vocabulary, self.num_frames))

    def __len__(self) -> int:
        return self.num_videos

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_scene"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._scene = lru_cache(maxsize=2)(self._build)

    def info(self, index: int) -> VideoInfo:
        """Describe video `index`."""
        if not 0 <= index < self.num_videos:
            raise IndexError(f"ToyWorld has {self.num_videos} videos, there is no video {index}")
        key = f"toy/{self.seed}/{self.split}/{index:06d}"
        return VideoInfo(key, self.num_frames, FPS, *self.size)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Render frames of video `index`, with everything that is known about them."""
        info = self.info(index)
        outside = [f for f in frame_indices if not 0 <= f < self.num_frames]
        if outside or not frame_indices:
            raise IndexError(
                f"{info.key} has frames 0 to {self.num_frames - 1}, asked for {list(frame_indices)}"
            )
        scene = self._scene(index)
        renderings = [render_scene(scene, frame, self.size) for frame in frame_indices]
        motions = [motion_between(a, b) for a, b in pairwise(renderings)]
        frames = np.stack(
            [
                self._expose(r.image, index, f)
                for r, f in zip(renderings, frame_indices, strict=True)
            ]
        )
        owner = np.stack([rendering.owner for rendering in renderings])
        instances = np.array([layer.instance for layer in scene.layers], np.uint8)
        parts = np.array([layer.part for layer in scene.layers], np.uint8)
        classes = np.array([0, *scene.object_classes], np.uint8)
        height, width = self.size
        flow = np.stack([m.flow for m in motions]) if motions else np.empty((0, 2, height, width))
        keypoints = np.stack([joint_positions(scene, r, JOINTS) for r in renderings])
        return Clip(
            frames=frames.transpose(0, 3, 1, 2),
            key=info.key,
            times=np.asarray(frame_indices, np.float64) / FPS,
            flow=flow.astype(np.float32, copy=False),
            flow_origin="true",
            valid=np.array([m.valid for m in motions], bool).reshape(-1, height, width),
            labels={
                "occlusion": np.array([m.occluded for m in motions], bool).reshape(
                    -1, height, width
                ),
                "masks": instances[owner],
                "semantic": classes[instances[owner]],
                "parts": parts[owner],
                "object_classes": scene.object_classes,
                "keypoints": keypoints,
                "action": np.array(scene.action),
                **({} if self.looks is None else {"look": np.array(index % self.looks)}),
            },
        )

    def _build(self, index: int) -> Scene:
        own = shared = self._rng(index, 0)
        if self.looks is not None:
            key = np.array([self.seed, len(_SPLITS)], np.uint64)
            counter = [0, 0, 0, index % self.looks]
            shared = np.random.Generator(np.random.Philox(key=key, counter=counter))
        return build_scene(
            shared,
            self.size,
            self.difficulty,
            patterns=vocabulary(self.vocabulary, self.num_frames),
            motion=own,
            textures=self.textures,
        )

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        """Counter-based: stream 0 draws video `index` itself, stream 1 + f the noise of frame f."""
        key = np.array([self.seed, _SPLITS.index(self.split)], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, stream, index]))

    def _expose(self, image: np.ndarray, index: int, frame: int) -> np.ndarray:
        """Add sensor noise and round to uint8."""
        levels = image * np.float32(255)
        if self.difficulty.noise > 0:
            noise = self._rng(index, 1 + frame).standard_normal(image.shape, dtype=np.float32)
            levels += np.float32(self.difficulty.noise) * noise
        return np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)

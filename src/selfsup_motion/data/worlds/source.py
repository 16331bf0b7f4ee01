"""`Worlds`: stills with natural statistics, rendered on the fly, with exact motion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.worlds.cutouts import Cutouts
from selfsup_motion.data.worlds.photos import Photos
from selfsup_motion.data.worlds.scene import Mixture, render
from selfsup_motion.data.worlds.textures import Textures
from selfsup_motion.errors import ClipReadError, UserError

_SPLITS = ("train", "val", "test")


class Worlds(Source):
    """A source of generated stills for CMP: one frame and the motion that leads on from it.

    Still i depends on (seed, split, i) and the size alone; nothing is stored. The camera
    rests unless `mixture.camera` says otherwise. Labels: `masks` (1, H, W) uint8, the things in a
    still by number; `moving` (N,) int64, the numbers of those that move; `pieces` (1, H, W) uint8,
    the parts of things by number, bending ones too; `joints` (J, 2) float32 and `joined` (J, 2)
    int64: x, y of the joints, in pixels, and the two pieces of each. A piece may be hidden, and a
    joint may lie outside.
    """

    def __init__(
        self,
        num_stills: int = 1_000_000,
        *,
        split: Literal["train", "val", "test"] = "train",
        seed: int = 0,
        size: tuple[int, int] | int = 128,
        textures: str | Path | None = None,
        cutouts: str | Path | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        """Define the worlds.

        Args:
            num_stills: how many stills the split has.
            split: train, val or test: different stills of the same kind.
            seed: another seed is another data set.
            size: (height, width) in pixels, or one side of a square.
            textures: a folder of photos for backgrounds; None: all backgrounds are generated.
            cutouts: a folder that `prepare=cutouts` made; None: all things are generated.
            mixture: what stills are made of (None: `Mixture()`).

        Raises:
            UserError: a folder without photos or cut-outs, or an argument out of range.
        """
        if split not in _SPLITS:
            raise UserError(f"Worlds: split must be one of {', '.join(_SPLITS)}, not {split!r}")
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        for name, value, least in (("num_stills", num_stills, 1), ("size", min(self.size), 32)):
            if value < least:
                raise UserError(f"Worlds: {name} must be at least {least}, not {value}")
        self.num_stills, self.split, self.seed = num_stills, split, seed
        self.mixture = mixture or Mixture()
        self.photos = None if textures is None else Photos(textures, "data.textures")
        self.cutouts = None if cutouts is None else Cutouts(cutouts)
        self.textures = Textures(seed)

    def __len__(self) -> int:
        """Number of stills."""
        return self.num_stills

    def first_frame_only(self) -> Worlds:
        """The same: there is no second frame."""
        return self

    def name(self, index: int) -> str:
        """What still `index` is called."""
        return f"{self.split}/{index}"

    def info(self, index: int) -> VideoInfo:
        """Describe still `index`."""
        return VideoInfo(self.name(index), 1, None, *self.size)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Render still `index`, with the motion that leads on from it."""
        if list(frame_indices) != [0]:
            raise ClipReadError(
                f"{self.name(index)} is a still: data=worlds has clips of data.length=1.",
                file=self.name(index),
                reason="too short",
            )
        rng = np.random.default_rng((self.seed, _SPLITS.index(self.split), index))
        still = render(self.size, self.mixture, self.textures, self.photos, self.cutouts, rng)
        return Clip(
            frames=still.image.transpose(2, 0, 1)[None],
            key=self.name(index),
            flow=still.flow[None],
            valid=np.ones((1, *self.size), np.bool_),
            labels={
                "masks": still.things[None],
                "moving": np.array(still.moving, np.int64),
                "pieces": still.pieces[None],
                "joints": still.joints,
                "joined": still.joined,
            },
        )

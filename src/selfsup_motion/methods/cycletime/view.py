"""What CycleTime sees of a clip: frames, a later one, and where a moving patch of that lies."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cycletime.geometry import SCALE

_BOXES, _SIDE, _BEST = 9, 3, 10
"""Boxes along each side of a frame, boxes along each side of a patch, and candidates."""


class CycleTimeView(View):
    """Clip → frames, target and patch for CycleTime (Wang et al. 2019, section 4.1).

    All frames are cut alike. The patch is one of those of the target in which much moves until the
    next frame; it is turned at random. It is not cut here: the method does that on its device.

    Output: `clip` uint8 (T, 3, S, S), `target` uint8 (3, S, S) and `theta` float32 (2, 3), the
    place of the patch in the target, see `geometry`. If not in training, also all `frames` uint8
    (all, 3, S, S) and, if the source has them, `masks` int64 (all, S, S), object ids, 0 for the
    background.
    """

    follows_frames: ClassVar[str] = "CycleTime"

    def __init__(
        self,
        *,
        size: int = 240,
        short_side: int | None = 256,
        frames: int = 4,
        target: int = 7,
        rotation: float = 45.0,
        flip: bool = True,
        published_flip: bool = False,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            size: side of the frames in pixels, after cutting.
            short_side: resize to this short side before (null: keep the size).
            frames: T, how many frames the patch is followed through, the first ones of the clip.
            target: number of the frame that the patch is from, from 0 on; the frame behind it shows
                what moves.
            rotation: of the patch, in degrees, up to.
            flip: mirror half of the clips.
            published_flip: in mirrored clips, take the patch at the place that mirrors where much
                moves, as the published code does.
            train: cut and choose at random; else the middle, the patch where most moves, not
                turned.

        Raises:
            UserError: a value out of range.
        """
        if size < 2 * _BOXES or size % 3:
            raise UserError(f"view.size={size}: expected a multiple of 3, at least {2 * _BOXES}.")
        geometry.check_short_side(short_side, "view.short_side")
        if frames < 1 or target < frames:
            raise UserError(
                f"view.frames={frames}, view.target={target}: expected at least one frame, and the "
                "target behind them."
            )
        if not 0 <= rotation <= 180:
            raise UserError(f"view.rotation={rotation}: expected 0 to 180 degrees.")
        self.size, self.short_side, self.train = size, short_side, train
        self.frames, self.target = frames, target
        self.rotation = math.radians(rotation) if train else 0.0
        self.flip, self.published_flip = flip and train, published_flip

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class.

        Raises:
            UserError: a clip that ends before the frame behind the target.
        """
        if len(clip.frames) < self.target + 2:
            raise UserError(
                f"CycleTime needs clips of at least {self.target + 2} frames (view.target="
                f"{self.target} and the one behind it), but {clip.key} has {len(clip.frames)}: use "
                f"videos with data.length={self.target + 2}."
            )
        used = clip.frames[: self.target + 2] if self.train else clip.frames
        layers = [used.transpose(0, 2, 3, 1)]
        masks = None if self.train else clip.labels.get("masks")
        if masks is not None:
            layers.append(masks[..., None].astype(np.uint8))
        mirrored = self.flip and rng.random() < 0.5
        layers = self._cut([self._resized(layer) for layer in layers], rng)
        if mirrored:
            layers = [layer[:, :, ::-1] for layer in layers]
        theta = self._place(layers[0][self.target : self.target + 2], mirrored, rng)
        frames = torch.from_numpy(np.ascontiguousarray(layers[0].transpose(0, 3, 1, 2)))
        sample = {
            "clip": frames[: self.frames],
            "target": frames[self.target],
            "theta": torch.from_numpy(theta),
        }
        if not self.train:
            sample["frames"] = frames
        if masks is not None:
            sample["masks"] = torch.from_numpy(layers[1][..., 0].astype(np.int64))
        return sample

    def _place(
        self, pair: NDArray[np.uint8], mirrored: bool, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """The place (2, 3) of a patch of pair[0] where much changes until pair[1]."""
        energy = motion_energy(pair)
        best = np.argsort(energy, axis=None)[::-1][:_BEST]
        row, column = np.unravel_index(best[rng.integers(_BEST) if self.train else 0], energy.shape)
        count = energy.shape[1] - 1
        if mirrored and self.published_flip:
            column = count - column
        share = np.array([column, row]) / count
        if self.train:
            share = (share + rng.uniform(-1, 1, 2) / (2 * count)).clip(0, 1)
        x, y = (2 * share - 1) * (1 - SCALE)
        angle = rng.uniform(-self.rotation, self.rotation) if self.rotation else 0.0
        cos, sin = SCALE * math.cos(angle), SCALE * math.sin(angle)
        return np.array([[cos, -sin, x], [sin, cos, y]], np.float32)

    def _resized(self, layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frames (T, H, W, 3) or ids (T, H, W, 1), whose values are not mixed."""
        size = layer.shape[1], layer.shape[2]
        wanted = geometry.short_side_size(size, self.short_side) if self.short_side else size
        if wanted == size:
            return layer
        method = cv2.INTER_NEAREST if layer.shape[3] == 1 else cv2.INTER_LINEAR
        parts = [
            cv2.resize(np.ascontiguousarray(i), wanted[::-1], interpolation=method) for i in layer
        ]
        return np.stack(parts).reshape(len(layer), *wanted, layer.shape[3]).astype(np.uint8)

    def _cut(
        self, layers: list[NDArray[np.uint8]], rng: np.random.Generator
    ) -> list[NDArray[np.uint8]]:
        """The same window, S × S, out of all layers (T, H, W, C)."""
        wanted = self.size, self.size
        margins = geometry.padding((layers[0].shape[1], layers[0].shape[2]), wanted)
        if margins is not None:
            around: Any = ((0, 0), *margins, (0, 0))
            layers = [np.pad(layer, around, mode="edge") for layer in layers]
        slack = layers[0].shape[1] - self.size, layers[0].shape[2] - self.size
        top, left = (int(rng.integers(n + 1)) if self.train else n // 2 for n in slack)
        return [layer[:, top : top + self.size, left : left + self.size] for layer in layers]


def motion_energy(pair: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How much changes in each candidate for a patch.

    Args:
        pair: (2, S, S, 3), a frame and the one behind it.

    Returns:
        (7, 7) sums of absolute differences over squares of a third of the side, an overlapping
        grid, row by row.
    """
    box = pair.shape[1] // _BOXES
    used = pair[:, : _BOXES * box, : _BOXES * box].astype(np.int64)
    change = np.abs(used[0] - used[1]).reshape(_BOXES, box, _BOXES, box, 3).sum((1, 3, 4))
    windows = np.lib.stride_tricks.sliding_window_view(change, (_SIDE, _SIDE))
    return np.asarray(windows.sum((2, 3)))

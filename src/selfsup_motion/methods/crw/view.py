"""What CRW sees of a clip: its frames, each cut in its own way, and where their patches lie."""

from __future__ import annotations

from typing import ClassVar, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.methods.crw.patches import grid_windows
from selfsup_motion.methods.parts.windows import draw_crops, middle_crop
from selfsup_motion.ops.color_jitter import draw_color_jitter

Nodes = Literal["patches", "cells"]
"""Patches of a regular grid, each encoded alone; or the cells of whole frames."""


class CRWView(View):
    """Clip → frames and windows for CRW (Jabri et al. 2020, section 3.1).

    In training, every frame is cut and changed independently of the others, and so is every patch.
    The patches are not cut here: the method cuts them all at once, on its device.

    Output, for T frames of S × S and N patches: `frames` uint8 (T, 3, S, S). With `nodes=patches`,
    `windows` float32 (T, N, 4), top, left, height and width of the patches in pixels, and
    `mirrored` bool (T, N). With a change of colours, `frame_color` float32 (T, 4) and, of patches,
    `patch_color` float32 (T, N, 4): factors of `ops.color_jitter`. If not in training and if the
    source has them, `masks` int64 (T, S, S), object ids, 0 for the background.
    """

    follows_frames: ClassVar[str] = "CRW"

    def __init__(
        self,
        *,
        size: int = 256,
        nodes: Nodes = "patches",
        patch: int = 64,
        step: int = 32,
        frame_area: tuple[float, float] = (0.8, 0.95),
        frame_ratio: tuple[float, float] = (0.7, 1.3),
        patch_area: tuple[float, float] = (0.7, 0.9),
        patch_ratio: tuple[float, float] = (0.75, 1.3333333333333333),
        color: float = 0.0,
        flip: bool = False,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            size: side of the frames in pixels, after cutting.
            nodes: "patches" of a regular grid, or the "cells" of whole frames.
            patch: side of a patch in pixels.
            step: between neighbouring patches.
            frame_area: share of a frame that is kept, range.
            frame_ratio: width per height of that part, range; it is resized to a square.
            patch_area: share of a patch that is kept, range.
            patch_ratio: width per height of that part, range.
            color: brightness, contrast and saturation of every frame and of every patch change by
                up to this factor (published option `cj`: 0.1).
            flip: mirror half of the frames and half of the patches, each on its own (published
                option `flip`).
            train: cut at random; else the middle of frames and whole patches, unchanged.

        Raises:
            UserError: patches that do not fit, or a value out of range.
        """
        if nodes not in ("patches", "cells"):
            raise UserError(f"view.nodes={nodes}: choose patches or cells.")
        if not 8 <= patch <= size or step < 1:
            raise UserError(
                f"view.patch={patch}, view.step={step}: expected patches of 8 to view.size={size} "
                "pixels, at least 1 apart."
            )
        for name, area in (("frame_area", frame_area), ("patch_area", patch_area)):
            if not 0 < area[0] <= area[1] <= 1:
                raise UserError(f"view.{name}={list(area)}: expected two shares, smaller first.")
        for name, ratio in (("frame_ratio", frame_ratio), ("patch_ratio", patch_ratio)):
            if not 0 < ratio[0] <= ratio[1]:
                raise UserError(
                    f"view.{name}={list(ratio)}: expected two positive proportions, smaller first."
                )
        if not 0 <= color <= 1:
            raise UserError(f"view.color={color}: expected 0 to 1.")
        self.size, self.nodes, self.patch, self.train = size, nodes, patch, train
        self.frame_area, self.frame_ratio = frame_area, frame_ratio
        self.patch_area, self.patch_ratio = patch_area, patch_ratio
        self.color, self.flip = (color, flip) if train else (0.0, False)
        self.windows = grid_windows(size, patch, step)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class.

        Raises:
            UserError: a clip of fewer than three frames.
        """
        length = len(clip.frames)
        if length < 3:
            raise UserError(
                f"CRW walks through at least 3 frames, but {clip.key} has {length}: use videos "
                "with data.length=4."
            )
        size = clip.frames.shape[2], clip.frames.shape[3]
        if self.train:
            crops = draw_crops(rng, length, size, self.frame_area, self.frame_ratio)
        else:
            crops = np.array([middle_crop(size, (1.0, 1.0))] * length)
        frames = np.stack([self._cut(f, c) for f, c in zip(clip.frames, crops, strict=True)])
        if self.flip:
            for t in np.flatnonzero(rng.random(length) < 0.5):
                frames[t] = frames[t, :, ::-1]
        sample = {"frames": torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))}
        if self.color:
            sample["frame_color"] = self._colors(rng, length)
        if self.nodes == "patches":
            sample |= self._patches(rng, length)
        if not self.train and "masks" in clip.labels:
            masks = clip.labels["masks"].astype(np.uint8)
            cut = [self._cut_ids(ids, crop) for ids, crop in zip(masks, crops, strict=True)]
            sample["masks"] = torch.from_numpy(np.stack(cut).astype(np.int64))
        return sample

    def _patches(self, rng: np.random.Generator, length: int) -> dict[str, Tensor]:
        """Where the patches lie, and what changes in them."""
        shape = length, len(self.windows)
        windows = np.broadcast_to(self.windows, (*shape, 4)).copy()
        if self.train:
            side = self.patch, self.patch
            inside = draw_crops(rng, shape[0] * shape[1], side, self.patch_area, self.patch_ratio)
            inside = inside.reshape(*shape, 4)
            windows[..., :2] += inside[..., :2]
            windows[..., 2:] = inside[..., 2:]
        mirrored = rng.random(shape) < 0.5 if self.flip else np.zeros(shape, np.bool_)
        sample = {"windows": torch.from_numpy(windows), "mirrored": torch.from_numpy(mirrored)}
        if self.color:
            sample["patch_color"] = self._colors(rng, shape[0] * shape[1]).view(*shape, 4)
        return sample

    def _colors(self, rng: np.random.Generator, count: int) -> Tensor:
        change = self.color
        return draw_color_jitter(
            rng, count, brightness=change, contrast=change, saturation=change, hue=0.0
        )

    def _cut(self, frame: NDArray[np.uint8], crop: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(3, H, W) → (S, S, 3)."""
        top, left, height, width = crop
        part = frame[:, top : top + height, left : left + width].transpose(1, 2, 0)
        wanted = self.size, self.size
        if height * width > self.size**2:  # averages
            return geometry.resize_image(np.ascontiguousarray(part), wanted)
        resized = cv2.resize(np.ascontiguousarray(part), wanted, interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def _cut_ids(self, ids: NDArray[np.uint8], crop: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(H, W) → (S, S), ids are not mixed."""
        top, left, height, width = crop
        part = np.ascontiguousarray(ids[top : top + height, left : left + width])
        wanted = self.size, self.size
        return np.asarray(cv2.resize(part, wanted, interpolation=cv2.INTER_NEAREST), np.uint8)

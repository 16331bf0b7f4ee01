"""What dense unsupervised learning sees of a clip: frames cut alike, and where to look closer."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError


class DenseUlearnView(View):
    """Clip → frames of the plain view and the window of the zoomed one (section 3.1).

    The zoomed view is made by the method, on its device. Colours stay as they are.

    Output, for T frames and crops of S pixels: `frames` uint8 (T, 3, S, S); `zoom` float32 (4,),
    the window's size as a share, 1 or -1 for mirrored, its centre (x, y) in [-1, 1]; `anchor` and
    `cross` float32 (2,) in [0, 1), where the two grids lie; if not in training and if the source
    has them, `masks` int64 (T, S, S), object ids, 0 for the background.
    """

    follows_frames: ClassVar[str] = "DenseUlearn"

    def __init__(
        self,
        *,
        crop_size: int = 256,
        short_side: tuple[int, int] | None = (256, 320),
        flip: bool = True,
        zoom: tuple[float, float] = (0.5, 1.0),
        shuffle: bool = True,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            crop_size: side of the crop in pixels. Smaller frames are extended by repeating their
                border.
            short_side: frames appear with a short side drawn evenly from this range before they are
                cropped, in validation with its middle; null: as they are.
            flip: mirror half of the clips left-right (training only).
            zoom: range of the window's size, as a share of the crop's.
            shuffle: frames in random order (training only): any may have the anchors.
            train: crop at random (else at the centre), and augment.

        Raises:
            UserError: a value out of range.
        """
        if crop_size < 8:
            raise UserError(f"view.crop_size must be at least 8, got {crop_size}.")
        if short_side is not None:
            low, high = short_side
            if low > high:
                raise UserError(
                    f"view.short_side=[{low}, {high}]: expected two lengths, the smaller first."
                )
            for side in (low, high):
                geometry.check_short_side(side, "view.short_side")
        if not 0 < zoom[0] <= zoom[1] <= 1:
            raise UserError(
                f"view.zoom=[{zoom[0]}, {zoom[1]}]: expected two shares of at most 1, the smaller "
                "first."
            )
        self.crop_size, self.short_side, self.zoom, self.train = crop_size, short_side, zoom, train
        self.flip, self.shuffle = flip and train, shuffle and train

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class.

        Raises:
            UserError: a clip of one frame.
        """
        length = len(clip.frames)
        if length < 2:
            raise UserError(
                f"DenseUlearn compares frames of a clip, but {clip.key} has a single one: use "
                "videos with data.length=3."
            )
        order = rng.permutation(length) if self.shuffle else np.arange(length)
        window = self._window(clip.frames.shape[2:], rng)
        step = -1 if self.flip and rng.random() < 0.5 else 1
        frames = [self._cut(clip.frames[t].transpose(1, 2, 0), window)[:, ::step] for t in order]
        sample = {
            "frames": torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2)))
        }
        scale = float(rng.uniform(*self.zoom))
        mirrored = -1.0 if rng.random() < 0.5 else 1.0
        x, y = rng.uniform(-1, 1, 2) * (1 - scale)
        sample["zoom"] = torch.tensor([scale, mirrored, x, y], dtype=torch.float32)
        for name in ("anchor", "cross"):
            sample[name] = torch.from_numpy(rng.random(2, dtype=np.float32))
        masks = None if self.train else clip.labels.get("masks")
        if masks is not None:
            cut = [self._cut(mask.astype(np.uint8)[..., None], window)[..., 0] for mask in masks]
            sample["masks"] = torch.from_numpy(np.stack(cut).astype(np.int64))
        return sample

    def _window(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int]:
        """Top, left and side, in the frame's own pixels, of what becomes the crop."""
        side = self.crop_size
        if self.short_side is not None:
            low, high = self.short_side
            short = int(rng.integers(low, high + 1)) if self.train else (low + high) // 2
            side = max(1, round(self.crop_size * min(size) / short))
        slack = [max(0, n - side) for n in size]
        top, left = (int(rng.integers(n + 1)) if self.train else n // 2 for n in slack)
        return top, left, side

    def _cut(self, layer: NDArray[np.uint8], window: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The window of (H, W, C), at the crop's size; labels (C = 1) are not mixed."""
        top, left, side = window
        layer = layer[top : top + side, left : left + side]
        margins = geometry.padding((layer.shape[0], layer.shape[1]), (side, side))
        if margins is not None:
            layer = np.pad(layer, (*margins, (0, 0)), mode="edge")
        size = (self.crop_size, self.crop_size)
        if layer.shape[2] == 3:
            return geometry.resize_image(np.ascontiguousarray(layer), size)
        if layer.shape[:2] == size:
            return layer
        resized = cv2.resize(np.ascontiguousarray(layer), size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(resized, np.uint8)[..., None]

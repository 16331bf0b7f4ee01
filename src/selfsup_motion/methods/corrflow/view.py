"""What CorrFlow sees of a clip: its frames, cut alike, and draws for their augmentation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.ops.color_jitter import draw_color_jitter

UNCHANGED = (1.0, 1.0, 1.0, 0.0)
"""Factors of `color_jitter` that leave an image as it is."""


class CorrFlowView(View):
    """Clip → frames for CorrFlow (Lai & Xie 2019, section 4.1).

    Nothing is changed in the colours here: the targets are the true ones, and the method applies
    the jitter on its device.

    Output, for T frames of H × W: `frames` uint8 (T, 3, H, W); `jitter` float32 (T, 4), factors of
    `ops.color_jitter`; `dropout_seed` int64 (), for the method's channel dropout; if not in
    training and if the source has them, `masks` int64 (T, H, W), object ids, 0 for the background.
    """

    follows_frames: ClassVar[str | None] = "CorrFlow"

    def __init__(
        self,
        *,
        crop_size: tuple[int, int] | int = 256,
        short_side: int | None = None,
        stretch: bool = True,
        flip: bool = False,
        jitter_probability: float = 0.1,
        jitter_per: Literal["clip", "frame"] = "frame",
        brightness: float = 0.1,
        contrast: float = 0.1,
        saturation: float = 0.1,
        hue: float = 0.1,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            crop_size: (height, width) in pixels, or one side of a square; multiples of 4. Smaller
                frames are extended by repeating their border.
            short_side: resize to this short side before cropping (null: keep the size).
            stretch: resize whole frames to `crop_size` whatever their proportions, bilinear without
                averaging, instead of cropping (as published).
            flip: mirror half of the clips left-right (training only).
            jitter_probability: share of training clips whose colours change.
            jitter_per: "clip" changes all frames of a clip alike, "frame" each in its own way (as
                published).
            brightness: see `draw_color_jitter`.
            contrast: see `draw_color_jitter`.
            saturation: see `draw_color_jitter`.
            hue: see `draw_color_jitter`.
            train: crop at random (else at the centre), and augment.

        Raises:
            UserError: a size that no cell of 4 × 4 pixels fits, or a value out of range.
        """
        self.crop_size = (
            (crop_size, crop_size)
            if isinstance(crop_size, int)
            else (int(crop_size[0]), int(crop_size[1]))
        )
        if min(self.crop_size) < 4 or self.crop_size[0] % 4 or self.crop_size[1] % 4:
            raise UserError(f"view.crop_size must be multiples of 4, got {self.crop_size}.")
        if not 0 <= jitter_probability <= 1:
            raise UserError(f"view.jitter_probability must be in [0, 1], got {jitter_probability}.")
        if jitter_per not in ("clip", "frame"):
            raise UserError(f"view.jitter_per must be clip or frame, got {jitter_per!r}.")
        self.short_side, self.stretch, self.train = short_side, stretch, train
        self.flip = flip and train
        self.jitter_probability, self.jitter_per = jitter_probability, jitter_per
        self.ranges = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        }
        try:
            draw_color_jitter(np.random.default_rng(0), 1, **self.ranges)
        except ValueError as error:
            raise UserError(f"view: {error}.") from error

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class.

        Raises:
            UserError: a clip of one frame.
        """
        if len(clip.frames) < 2:
            raise UserError(
                f"{self.follows_frames} copies colours from frame to frame, but {clip.key} has a "
                "single one: use videos with data.length=3."
            )
        layers = [clip.frames.transpose(0, 2, 3, 1)]
        masks = None if self.train else clip.labels.get("masks")
        if masks is not None:
            layers.append(masks[..., None].astype(np.uint8))
        layers = self._cut([self._resized(layer) for layer in layers], rng)
        sample = {
            "frames": torch.from_numpy(np.ascontiguousarray(layers[0].transpose(0, 3, 1, 2))),
            "jitter": self._jitter(len(clip.frames), rng),
            "dropout_seed": torch.tensor(int(rng.integers(1 << 62)), dtype=torch.int64),
        }
        if masks is not None:
            sample["masks"] = torch.from_numpy(layers[1][..., 0].astype(np.int64))
        return sample

    def _jitter(self, frames: int, rng: np.random.Generator) -> Tensor:
        unchanged = torch.tensor(UNCHANGED).repeat(frames, 1)
        if not self.train or rng.random() >= self.jitter_probability:
            return unchanged
        count = frames if self.jitter_per == "frame" else 1
        return draw_color_jitter(rng, count, **self.ranges).expand_as(unchanged).contiguous()

    def _resized(self, layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize frames (T, H, W, 3) or ids (T, H, W, 1), whose values are not mixed."""
        size = layer.shape[1], layer.shape[2]
        if self.stretch:
            wanted = self.crop_size
        elif self.short_side is not None:
            wanted = geometry.short_side_size(size, self.short_side)
        else:
            wanted = size
        if wanted == size:
            return layer
        if layer.shape[3] == 1:
            method = cv2.INTER_NEAREST
        elif self.stretch:
            method = cv2.INTER_LINEAR
        else:
            return np.stack([geometry.resize_image(np.ascontiguousarray(i), wanted) for i in layer])
        resized = [
            cv2.resize(np.ascontiguousarray(i), wanted[::-1], interpolation=method) for i in layer
        ]
        return np.stack(resized).reshape(len(layer), *wanted, layer.shape[3]).astype(np.uint8)

    def _cut(
        self, layers: list[NDArray[np.uint8]], rng: np.random.Generator
    ) -> list[NDArray[np.uint8]]:
        """The same window, `crop_size` large, out of all layers (T, H, W, C)."""
        margins = geometry.padding((layers[0].shape[1], layers[0].shape[2]), self.crop_size)
        if margins is not None:
            around: Any = ((0, 0), *margins, (0, 0))
            layers = [np.pad(layer, around, mode="edge") for layer in layers]
        height, width = self.crop_size
        slack = layers[0].shape[1] - height, layers[0].shape[2] - width
        if self.train:
            top, left = (int(rng.integers(n + 1)) for n in slack)
        else:
            top, left = (n // 2 for n in slack)
        step = -1 if self.flip and rng.random() < 0.5 else 1
        return [layer[:, top : top + height, left : left + width][:, :, ::step] for layer in layers]

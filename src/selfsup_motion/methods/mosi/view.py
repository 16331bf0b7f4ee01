"""What MoSI sees of a clip: one image of standard size, and what is drawn to make clips of it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.ops.color_jitter import draw_color_jitter
from selfsup_motion.ops.pseudo_motion import PseudoMotion
from selfsup_motion.ops.standard_size import crop_size, published_resize

Flip = Literal["source", "published", "none"]
"""Mirror the source image, so that labels stay right; mirror clips and leave their labels, as
published; or neither."""


class MoSIView(View):
    """Clip → one image and the draws for its pseudo-motion clips (MoSI, section 3).

    Uses the first frame. Nothing is rendered here: the method makes all clips of a batch at once,
    on its device, from one image of bytes per sample.

    Output, for a field of F pixels, C clips and T frames: `image` uint8 (3, F, F), smaller areas in
    its upper left corner; `motion`, `corners`, `box`, `frozen` as of `PseudoMotion.draw`; with
    `flip=published` also `flip` bool (C,); with a colour change also `color` float32 (C, 1, 4) or
    (C, T, 4).
    """

    first_frame_only = True
    """Of a clip's frames, only the first is looked at."""

    def __init__(
        self,
        *,
        motion: PseudoMotion,
        field: int = 320,
        short_side: tuple[int, int] | None = None,
        aspect: tuple[float, float] = (1.0, 1.0),
        published_resize: bool = False,
        flip: Flip = "source",
        color: Literal["clip", "frame", "none"] = "clip",
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue: float = 0.25,
        grey: float = 0.3,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            motion: what clips are like; that of the method.
            field: side of the square area that windows move in, pixels.
            short_side: images are resized to a short side drawn from this range before the area is
                cut out; None: `field`.
            aspect: range of the area's width per height, drawn uniformly.
            published_resize: resize as the published code does (bilinear without averaging, levels
                cut off), else with averaging.
            flip: half of the images, or clips, mirrored left-right. Mirroring the source happens
                in training only; published, also in validation.
            color: one change of colour per clip, an independent one per frame (as published), or
                none. Training only.
            brightness: see `draw_color_jitter`.
            contrast: see `draw_color_jitter`.
            saturation: see `draw_color_jitter`.
            hue: see `draw_color_jitter`.
            grey: probability that a clip loses its colours.
            train: random area, start and colour; else the middle, unchanged.

        Raises:
            UserError: the window is not smaller than the area, or a value out of range.
        """
        self.motion, self.field, self.train, self.flip = motion, field, train, flip
        self.short_side = (field, field) if short_side is None else short_side
        self.aspect, self.published_resize = aspect, published_resize
        self.frames_changed = {"clip": 1, "frame": motion.length, "none": 0}.get(color, -1)
        self.jitter = {
            "brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue
        }  # fmt: skip
        self.grey = grey
        self._check(color)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; all its randomness comes from `rng`."""
        image = self._standardised(clip.frames[0], rng)
        if self.train and self.flip == "source" and rng.random() < 0.5:
            image = image[:, :, ::-1]
        height, width = image.shape[1:]
        room = width - self.motion.size, height - self.motion.size
        draws = self.motion.draw(rng, room, train=self.train)
        canvas = np.zeros((3, self.field, self.field), np.uint8)
        canvas[:, :height, :width] = image
        sample = {"image": torch.from_numpy(canvas)}
        sample |= {name: torch.from_numpy(array) for name, array in draws.items()}
        clips = len(draws["motion"])
        if self.flip == "published":
            sample["flip"] = torch.from_numpy(rng.random(clips) < 0.5)
        if self.train and self.frames_changed:
            sample["color"] = self._color(rng, clips)
        return sample

    def _standardised(
        self, frame: NDArray[np.uint8], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """(3, H, W) → the area that windows move in, at most (3, field, field)."""
        low, high = self.short_side
        short = int(rng.integers(low, high + 1)) if self.train else (low + high) // 2
        if self.published_resize:
            image = published_resize(torch.from_numpy(np.ascontiguousarray(frame)), short).numpy()
        else:
            size = geometry.short_side_size((frame.shape[1], frame.shape[2]), short)
            resized = geometry.resize_image(np.ascontiguousarray(frame.transpose(1, 2, 0)), size)
            image = resized.transpose(2, 0, 1)
        narrow, wide = self.aspect
        share = rng.random() if self.train else 0.5
        height, width = crop_size(self.field, narrow + (wide - narrow) * share)
        slack = image.shape[1] - height, image.shape[2] - width
        top, left = (int(rng.integers(n + 1)) if self.train else n // 2 for n in slack)
        return image[:, top : top + height, left : left + width]

    def _color(self, rng: np.random.Generator, clips: int) -> Tensor:
        factors = draw_color_jitter(rng, clips * self.frames_changed, **self.jitter)
        factors = factors.view(clips, self.frames_changed, 4)
        factors[torch.from_numpy(rng.random(clips) < self.grey), :, 2] = 0
        return factors

    def _check(self, color: str) -> None:
        """Refuse here what would fail in a worker in the middle of an epoch."""
        if self.flip not in ("source", "published", "none"):
            raise UserError(f"view.flip={self.flip}: choose source, published or none.")
        if self.frames_changed < 0:
            raise UserError(f"view.color={color}: choose clip, frame or none.")
        if not 0 <= self.grey <= 1:
            raise UserError(f"view.grey={self.grey}: expected a probability from 0 to 1.")
        narrow, wide = self.aspect
        if not 0 < narrow <= wide:
            raise UserError(
                f"view.aspect=[{narrow}, {wide}]: expected two positive proportions, the smaller "
                "first."
            )
        low, high = self.short_side
        if not self.field <= low <= high:
            raise UserError(
                f"view.short_side=[{low}, {high}]: expected two lengths of at least "
                f"view.field={self.field} pixels, the smaller first."
            )
        smallest = min(*crop_size(self.field, narrow), *crop_size(self.field, wide))
        if smallest <= self.motion.size:
            raise UserError(
                f"A window of motion.size={self.motion.size} pixels cannot move in an area of "
                f"{smallest} (view.field={self.field}, view.aspect=[{narrow}, {wide}]): enlarge "
                "view.field or lower motion.size."
            )
        # factors out of range are refused by what draws them
        draw_color_jitter(np.random.default_rng(0), 1, **self.jitter)

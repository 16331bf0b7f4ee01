"""Clips with known motion out of still images (MoSI, Huang et al., CVPR 2021, section 3).

A window slides over the image in a straight line; outside a small rectangle, every frame shows what
one of the frames shows there. All randomness is in arguments: `PseudoMotion.draw` makes them, on
the CPU and per image, `PseudoMotion.render` turns a batch of images into clips on any device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.color_jitter import color_jitter, mean_grey
from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.motion_classes import Axes, MotionClasses
from selfsup_motion.ops.sliding_windows import window_path, windows


class PseudoMotion:
    """The recipe of the clips: which motions, how long, how large, what stays still.

    Attributes:
        classes: the motions.
        length: frames of a clip.
        size: side of the clip's square frames in pixels.
    """

    def __init__(
        self,
        *,
        speeds: int = 5,
        axes: Axes = "xy",
        decoupled: bool = True,
        zero: bool = True,
        length: int = 16,
        size: int = 112,
        distance_jitter: tuple[float, float] = (1.0, 1.0),
        subpixel: bool = False,
        mask: float = 1.0,
        mask_size: tuple[float, float] = (0.3, 0.5),
        mask_frame: int | None = None,
        motions_per_image: int | None = None,
    ) -> None:
        """Define the recipe.

        Args:
            speeds: see `MotionClasses`; the fastest window crosses all of the image.
            axes: see `MotionClasses`.
            decoupled: see `MotionClasses`.
            zero: see `MotionClasses`.
            length: frames of a clip, at least 2.
            size: side of the frames in pixels.
            distance_jitter: lowest and highest factor of the distance; the fastest windows, which
                have no more room, take factors up to 1. Training only.
            subpixel: windows at fractions of pixels, interpolated; else cut off to whole ones, as
                published.
            mask: probability of the static mask (published: 1).
            mask_size: shortest and longest side of its rectangle, in sides of the frame.
            mask_frame: number of the frame that stays outside the rectangle; None: any, as
                published.
            motions_per_image: so many motions are drawn for each image in training, without
                repetition; None: all of them, in order, as published.

        Raises:
            ValueError: a value out of range.
        """
        self.classes = MotionClasses(speeds=speeds, axes=axes, decoupled=decoupled, zero=zero)
        self.length, self.size, self.subpixel = length, size, subpixel
        self.distance_jitter = float(distance_jitter[0]), float(distance_jitter[1])
        self.mask, self.mask_frame = mask, mask_frame
        self.mask_size = float(mask_size[0]), float(mask_size[1])
        self.motions_per_image = motions_per_image
        self._check()

    def draw(
        self, rng: np.random.Generator, room: tuple[int, int], *, train: bool
    ) -> dict[str, NDArray[Any]]:
        """Draw the clips of one image.

        Args:
            rng: of the sample.
            room: by how many pixels the image is wider and higher than a frame, (x, y).
            train: else all motions, centred, with undisturbed distances; the mask is still random.

        Returns:
            For C clips of T frames: `motion` int64 (C,) classes; `corners` (C, T, 2), x and y of
            the window's upper left corner, int64 or, with `subpixel`, float32; `box` int64 (C, 4),
            x, y, width and height of the rectangle that moves, the whole frame where there is no
            mask; `frozen` int64 (C,), the frame seen outside it.
        """
        motion = np.arange(len(self.classes))
        if train and self.motions_per_image is not None:
            motion = rng.choice(motion, self.motions_per_image, replace=False)
        speeds = np.array(self.classes.table)[motion] / self.classes.levels
        start, end = self._draw_ends(rng, speeds, np.array(room), train)
        box, frozen = self._draw_mask(rng, len(motion))
        corners = window_path(start, end, self.length, np.array(room), subpixel=self.subpixel)
        return {"motion": motion, "corners": corners, "box": box, "frozen": frozen}

    def render(
        self,
        images: Tensor,
        corners: Tensor,
        box: Tensor,
        frozen: Tensor,
        *,
        flip: Tensor | None = None,
        color: Tensor | None = None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Make the clips of a batch of images, all at once.

        Args:
            images: (B, 3, H, W) uint8.
            corners: (B, C, T, 2) of `draw`.
            box: (B, C, 4) of `draw`.
            frozen: (B, C) of `draw`.
            flip: (B, C) bool, clips mirrored left-right after the motion was made and before the
                mask is laid: what the label says is then wrong for motion along x.
            color: (B, C, 1 or T, 4) factors of `color_jitter`, per clip or per frame. Contrast is
                about the mean grey of the frozen frame, so that one change is the same in all
                frames, inside the rectangle and outside.
            mean: (3,) of RGB in [0, 1], subtracted; None: 0.
            std: (3,) that the rest is divided by; None: 1.
            out: what an earlier call for as many clips returned, to be overwritten: on a CPU, new
                memory takes longer to get than the clips take to make.

        Returns:
            (B, C, 3, T, size, size) float32; its clips are in the memory format channels_last_3d.
        """
        size, part = self.size, self._moving_side
        still_corner = corners.take_along_dim(frozen[:, :, None, None], 2)[:, :, 0]
        still = windows(images, still_corner, size)  # (B, C, 3, size, size)
        # only a window of `part` pixels around the rectangle has to be made for every frame
        origin = box[..., :2].clamp(max=size - part)
        inner = origin
        if flip is not None:
            x, y = origin.unbind(-1)
            inner = torch.stack([torch.where(flip, size - part - x, x), y], -1)
        moving = windows(images, corners + inner[:, :, None], part)  # (B, C, T, 3, part, part)
        if flip is not None:
            still = torch.where(flip[..., None, None, None], still.flip(-1), still)
            moving = torch.where(flip[..., None, None, None, None], moving.flip(-1), moving)
        if color is not None:
            still, moving = self._coloured(still, moving, color, frozen)
        if self.mask:
            around = windows(still.flatten(0, 1), origin.flatten(0, 1)[:, None], part)
            around = around.view(*box.shape[:2], 1, 3, part, part)
            moving = torch.where(_inside(box, origin, part), moving, around)
        top = 255.0 if color is None else 1.0
        still, moving = (_normalised(x, top, mean, std) for x in (still, moving))
        return self._assembled(still, moving, origin, out)

    def _coloured(
        self, still: Tensor, moving: Tensor, color: Tensor, frozen: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.subpixel:
            still, moving = still / 255, moving / 255
        color = color.expand(-1, -1, self.length, -1)
        pivot = mean_grey(still)[..., None] * color[..., 0]
        at_frozen = color.take_along_dim(frozen[:, :, None, None], 2)[:, :, 0]
        pivot_frozen = pivot.take_along_dim(frozen[:, :, None], 2)[:, :, 0]
        return color_jitter(still, at_frozen, pivot_frozen), color_jitter(moving, color, pivot)

    def _assembled(
        self, still: Tensor, moving: Tensor, origin: Tensor, out: Tensor | None
    ) -> Tensor:
        """The part of `moving` in every frame, the rest from `still`."""
        batch, clips, size, part = *still.shape[:2], self.size, self._moving_side
        # channels last, in which 3-D convolutions are fastest and a window's row is one piece
        moving = moving.permute(0, 1, 2, 4, 5, 3)
        shape = batch, clips, self.length, size, size, 3
        made = torch.empty(shape, device=still.device)
        if out is not None:
            made = out.permute(0, 1, 3, 4, 5, 2)
            if made.shape != shape or not made.is_contiguous():
                raise ValueError(f"out of {tuple(out.shape)} is not the result of such a call")
        if part == size:
            return made.copy_(moving).permute(0, 1, 5, 2, 3, 4)
        made.copy_(still.permute(0, 1, 3, 4, 2).contiguous()[:, :, None])
        places = made.flatten(0, 1).unfold(2, part, 1).unfold(3, part, 1)
        x, y = origin.flatten(0, 1).unbind(-1)
        clip = torch.arange(batch * clips, device=made.device)
        # every clip its own place: (N, T, part, part, 3)
        places.permute(0, 2, 3, 1, 5, 6, 4)[clip, y, x] = moving.flatten(0, 1)
        return made.permute(0, 1, 5, 2, 3, 4)

    @property
    def _moving_side(self) -> int:
        """Side of the largest rectangle there can be."""
        return self.size if self.mask < 1 else int(self.size * self.mask_size[1])

    def _draw_ends(
        self,
        rng: np.random.Generator,
        speeds: NDArray[np.float64],
        room: NDArray[np.int64],
        train: bool,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """First and last position, (C, 2) each, of windows at these speeds in [-1, 1]."""
        if (room < 1).any():
            raise ValueError(
                f"a window of {self.size} pixels cannot move in an image that has only "
                f"{room[0]} and {room[1]} pixels more: enlarge the image or lower motion.size"
            )
        distance = room * speeds
        if not train:
            start = np.floor((room - distance) / 2)
            return start, start + distance
        low, high = self.distance_jitter
        highest = np.where(np.abs(speeds) == 1, 1.0, high)
        distance = distance * (low + (highest - low) * rng.random(speeds.shape))
        first, last = np.maximum(0, -distance), np.minimum(room, room - distance)
        if self.subpixel:
            start = first + (last - first) * rng.random(speeds.shape)
        else:
            start = rng.integers(first.astype(np.int64), last.astype(np.int64) + 1).astype(float)
        return start, start + distance

    def _draw_mask(
        self, rng: np.random.Generator, clips: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        masked = rng.random(clips) < self.mask
        low, high = self.mask_size
        side = (self.size * (low + (high - low) * rng.random(clips))).astype(np.int64)
        side = np.where(masked, side, self.size)
        corner = rng.integers(0, self.size - side[:, None] + 1, (clips, 2))
        frozen = rng.integers(self.length, size=clips)
        if self.mask_frame is not None:
            frozen[:] = self.mask_frame
        return np.concatenate([corner, side[:, None], side[:, None]], 1), frozen

    def _check(self) -> None:
        low, high = self.distance_jitter
        slower = (self.classes.levels - 1) / self.classes.levels
        if not 0 < low <= min(1.0, high) or high * slower > 1:
            most = f" and at most {1 / slower:g}" if slower else ""
            raise ValueError(
                f"motion.distance_jitter=[{low}, {high}]: expected two factors above 0, the lower "
                f"at most 1, the higher not below it{most} (windows must stay in the image)"
            )
        if not 0 <= self.mask <= 1:
            raise ValueError(f"motion.mask={self.mask}: expected a probability from 0 to 1")
        low, high = self.mask_size
        if not 0 < low <= high <= 1 or int(self.size * low) < 1:
            raise ValueError(
                f"motion.mask_size=[{low}, {high}]: expected two shares of the frame's side, the "
                "smaller first, in (0, 1] and of at least a pixel"
            )
        if self.length < 2:
            raise ValueError(f"motion.length={self.length}: a clip that moves has 2 frames or more")
        if self.mask_frame is not None and not 0 <= self.mask_frame < self.length:
            raise ValueError(
                f"motion.mask_frame={self.mask_frame}: clips have frames 0 to {self.length - 1}"
            )
        if self.motions_per_image is not None and not (
            1 <= self.motions_per_image <= len(self.classes)
        ):
            raise ValueError(
                f"motion.motions_per_image={self.motions_per_image}: there are "
                f"{len(self.classes)} motions to draw from"
            )


def pseudo_motion(
    images: Tensor,
    speed: Tensor,
    *,
    length: int,
    size: int,
    start: Tensor | None = None,
    subpixel: bool = False,
) -> Tensor:
    """Slide a window over images: the plain clip, without mask and colour.

    Args:
        images: (B, 3, H, W) uint8.
        speed: (B, 2) in [-1, 1], the share of the free way along x and y that the window covers
            during the clip; positive is right and down. Read on the host, as is `start`: keep both
            on the CPU, so that nothing has to wait for a GPU.
        length: frames.
        size: side of the window in pixels.
        start: (B, 2) first position; None puts the way in the middle.
        subpixel: see `window_path`.

    Returns:
        (B, length, 3, size, size) uint8, or float32 in [0, 255] if `subpixel`.

    Raises:
        ValueError: a speed out of range, or a window that does not fit.
    """
    room = np.array([images.shape[-1] - size, images.shape[-2] - size])
    speeds = speed.double().cpu().numpy()
    if not (np.abs(speeds) <= 1).all():
        raise ValueError(f"speed must be in [-1, 1], got {speeds.min():g} to {speeds.max():g}")
    distance = room * speeds
    begin = np.floor((room - distance) / 2) if start is None else start.double().cpu().numpy()
    corners = window_path(begin, begin + distance, length, room, subpixel=subpixel)
    dtype = torch.float32 if subpixel else torch.int64
    return windows(images, constant_like(corners, images, dtype), size)


def _normalised(images: Tensor, top: float, mean: Tensor | None, std: Tensor | None) -> Tensor:
    """(…, 3, H, W) in [0, top] -> (image / top - mean) / std."""
    factor = torch.full((3,), 1 / top, device=images.device)
    if std is not None:
        factor = factor / std
    made = images.float() * factor[:, None, None]
    if mean is None:
        return made
    shift = mean if std is None else mean / std
    return made.sub_(shift[:, None, None])


def _inside(box: Tensor, origin: Tensor, part: int) -> Tensor:
    """(B, C, 1, 1, part, part) bool: which pixels of the part at `origin` are in the rectangle."""
    first = (box[..., :2] - origin)[..., None]  # (B, C, 2, 1)
    last = first + box[..., 2:, None]
    place = torch.arange(part, device=box.device)
    x, y = ((first <= place) & (place < last)).unbind(2)
    return (y[..., :, None] & x[..., None, :])[:, :, None, None]

"""Random changes of whole clips: drawn per sample, a few numbers, and applied on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.blur import gaussian_blur
from selfsup_motion.methods.parts.windows import draw_crops
from selfsup_motion.ops.color_jitter import color_jitter, draw_color_jitter, mean_grey


class ClipChanges:
    """One window, one mirroring, one change of colour and one blur for all frames of a clip.

    The defaults are those of the large-scale study (Feichtenhofer et al., CVPR 2021).
    """

    def __init__(
        self,
        *,
        size: int = 224,
        area: tuple[float, float] = (0.2, 0.766),
        ratio: tuple[float, float] = (0.75, 1.3333333333333333),
        angle: float = 0.0,
        flip: float = 0.5,
        jitter: float = 0.8,
        brightness: float = 0.6,
        contrast: float = 0.6,
        saturation: float = 0.6,
        hue: float = 0.15,
        grey: float = 0.2,
        blur: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        """Describe the changes.

        Args:
            size: side of the changed clips in pixels.
            area: share of the frame that the window keeps, range.
            ratio: width per height of the window, range.
            angle: the window is turned by up to so many degrees, either way.
            flip: probability that a clip is mirrored left-right.
            jitter: probability that colours change.
            brightness: see `draw_color_jitter`.
            contrast: see `draw_color_jitter`.
            saturation: see `draw_color_jitter`.
            hue: see `draw_color_jitter`.
            grey: probability that a clip loses its colours.
            blur: probability that a clip is blurred.
            sigma: of the blur, range, in pixels of the changed clip.

        Raises:
            UserError: a value out of range.
        """
        if size < 8:
            raise UserError(f"changes.size must be at least 8, got {size}.")
        if not 0 < area[0] <= area[1] <= 1:
            raise UserError(f"changes.area={list(area)}: expected two shares, smaller first.")
        if not 0 < ratio[0] <= ratio[1]:
            raise UserError(
                f"changes.ratio={list(ratio)}: expected two positive proportions, smaller first."
            )
        if not 0 <= angle <= 180:
            raise UserError(f"changes.angle={angle}: expected degrees from 0 to 180.")
        for name, value in (("flip", flip), ("jitter", jitter), ("grey", grey), ("blur", blur)):
            if not 0 <= value <= 1:
                raise UserError(f"changes.{name}={value}: expected a probability from 0 to 1.")
        if not 0 < sigma[0] <= sigma[1]:
            raise UserError(f"changes.sigma={list(sigma)}: expected two widths, smaller first.")
        self.size, self.area, self.ratio, self.angle, self.flip = size, area, ratio, angle, flip
        self.jitter, self.grey, self.blur, self.sigma = jitter, grey, blur, sigma
        self.colors = {
            "brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue
        }  # fmt: skip
        self._draw_colors(np.random.default_rng(0), 1)  # refuses factors out of range

    def draw(
        self, rng: np.random.Generator, count: int, frame: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Draw changes; the same numbers are taken from `rng` whatever is switched off.

        Args:
            rng: of the sample.
            count: of clips.
            frame: (height, width) of the frames in pixels, as they were before they were made
                square: windows have their shape there.

        Returns:
            `window` float32 (count, 4), top, left, height and width as shares of the frame; `angle`
            float32 (count,) in radians; `aspect` float32 (count,), width per height of the frame;
            `mirrored` bool (count,); `color` float32 (count, 4), see `color_jitter`; `blur` float32
            (count,), σ in pixels of the changed clip, 0 for none.
        """
        height, width = frame
        crops = draw_crops(rng, count, frame, self.area, self.ratio).astype(np.float32)
        angles = np.deg2rad(self.angle) * rng.uniform(-1, 1, count)
        mirrored = rng.random(count) < self.flip
        colors = self._draw_colors(rng, count)
        sigma = rng.uniform(*self.sigma, count)
        blurred = rng.random(count) < self.blur
        return {
            "window": torch.from_numpy(
                crops / np.array([height, width, height, width], np.float32)
            ),
            "angle": torch.from_numpy(angles.astype(np.float32)),
            "aspect": torch.full((count,), width / height),
            "mirrored": torch.from_numpy(mirrored),
            "color": colors,
            "blur": torch.from_numpy(np.where(blurred, sigma, 0).astype(np.float32)),
        }

    def apply(self, frames: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        """Change clips, each several times.

        Windows are cut first, since they are smaller; contrast is about the mean grey of all frames
        of the whole clip, as if colours were changed before. Every frame is blurred by itself.

        Args:
            frames: (B, C, T, 3, F, F) uint8, C clips of each sample, made square.
            draws: as `draw` makes them, stacked along a first dimension: (B, V, …), V a multiple of
                C; change k is of clip k // (V / C).

        Returns:
            (B, V, T, 3, size, size) float32 in [0, 1].
        """
        batch, clips, length = frames.shape[:3]
        views = draws["window"].shape[1]
        flat = {name: draws[name].flatten(0, 1) for name in ("window", "color", "blur")}
        grid = window_grid(draws, self.size)  # (B, V, size, size, 2)
        grid = grid.reshape(batch * clips, -1, self.size, 2)
        images = frames.flatten(0, 1).flatten(1, 2).float().div_(255)  # (B·C, T·3, F, F)
        cut = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        cut = torch.unflatten(cut, 2, (views // clips, self.size)).transpose(1, 2)
        cut = cut.reshape(batch * views, length, 3, self.size, self.size)
        grey = mean_grey(torch.unflatten(images, 1, (length, 3))).mean(1)
        pivot = grey.repeat_interleave(views // clips) * flat["color"][:, 0]
        out = color_jitter(cut, flat["color"][:, None], pivot[:, None])
        if self.blur > 0:
            out = gaussian_blur(out.flatten(1, 2), flat["blur"], self.sigma[1]).view(out.shape)
        return torch.unflatten(out, 0, (batch, views))

    def _draw_colors(self, rng: np.random.Generator, count: int) -> Tensor:
        factors = draw_color_jitter(rng, count, **self.colors)
        same = torch.tensor([1.0, 1.0, 1.0, 0.0])
        factors[torch.from_numpy(rng.random(count) >= self.jitter)] = same
        factors[torch.from_numpy(rng.random(count) < self.grey), 2] = 0
        return factors


def window_grid(draws: Mapping[str, Any], size: int) -> Tensor:
    """Where each pixel of a changed clip comes from.

    Args:
        draws: `window` (…, 4), `angle` (…), `aspect` (…) and `mirrored` (…), see `ClipChanges`.
        size: side of the changed clip in pixels.

    Returns:
        (…, size, size, 2) x and y in [-1, 1], for `grid_sample` without aligned corners.
    """
    window, angle, aspect = draws["window"], draws["angle"], draws["aspect"]
    top, left, height, width = window.unbind(-1)
    step = (torch.arange(size, device=window.device) + 0.5) * (2 / size) - 1
    x = torch.where(draws["mirrored"], -1.0, 1.0)[..., None] * step * width[..., None]
    y = step * height[..., None]
    x, y = x[..., None, :], y[..., :, None]  # from the window's middle, in half frames
    cos, sin = angle.cos()[..., None, None], angle.sin()[..., None, None]
    wide = aspect[..., None, None]
    turned_x = cos * x - sin * y / wide
    turned_y = sin * x * wide + cos * y
    middle_x = (2 * left + width - 1)[..., None, None]
    middle_y = (2 * top + height - 1)[..., None, None]
    return torch.stack([turned_x + middle_x, turned_y + middle_y], -1)

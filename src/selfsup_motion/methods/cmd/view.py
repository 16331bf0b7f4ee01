"""What CMD sees of a clip: frames, a key frame, the motion after it, and motion from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.windows import draw_crops, middle_crop
from selfsup_motion.ops.color_jitter import draw_color_jitter

_JITTER: Mapping[str, float] = MappingProxyType(
    {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
)


class CMDView(View):
    """Clip with motion vectors → crops (CMD, section 4.1).

    The clip and the motion after it share a window and a mirroring; the key frame and each motion
    from elsewhere have their own. Blur is one for all frames of a clip. Colours are changed on the
    device.

    Output, for T frames of S pixels, M frames of motion on G × G cells, K motions from elsewhere:
    `clip` uint8 (T, 3, S, S); `context` uint8 (3, S, S), the key frame; `motion` float16
    (1 + K, M, 2, G, G), the one after the clip first, right and down, in units of `limit` pixels of
    the crop; `color` float32 (2, 4), see `color_jitter`, of the clip and of the key frame.
    """

    def __init__(
        self,
        *,
        motion_length: int = 8,
        negatives: int = 3,
        size: int = 112,
        motion_size: int = 112,
        area: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (0.75, 1.3333333333333333),
        flip: float = 0.5,
        blur: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
        jitter: float = 0.5,
        grey: float = 0.2,
        limit: float = 10.0,
        published_vectors: bool = False,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            motion_length: frames of a motion clip, as the sampler has them.
            negatives: motion clips from elsewhere, as the sampler has them.
            size: side of the crops in pixels.
            motion_size: side of the maps of motion in cells.
            area: share of the frame that a window keeps, range.
            ratio: width per height of a window, range.
            flip: probability that a crop is mirrored left-right.
            blur: probability that a crop is blurred.
            sigma: of the blur, range, in pixels of the crop.
            jitter: probability that colours change.
            grey: probability that a crop loses its colours.
            limit: longer vectors are cut off to this, along x and y; pixels of the crop.
            published_vectors: as CMD's code has them: mirroring does not turn vectors round, and
                enlarging a window does not lengthen them. (Use it with the source's option of the
                same name.)
            train: random windows and changes; else the middle, unchanged.

        Raises:
            UserError: a value out of range.
        """
        for name, value in (("size", size), ("motion_size", motion_size)):
            if value < 1:
                raise UserError(f"view.{name} must be at least 1, got {value}.")
        if not 0 < area[0] <= area[1] <= 1:
            raise UserError(f"view.area={list(area)}: expected two shares, smaller first.")
        if not 0 < ratio[0] <= ratio[1]:
            raise UserError(f"view.ratio={list(ratio)}: expected two proportions, smaller first.")
        if not 0 < sigma[0] <= sigma[1]:
            raise UserError(f"view.sigma={list(sigma)}: expected two widths, smaller first.")
        for name, share in (("flip", flip), ("blur", blur), ("jitter", jitter), ("grey", grey)):
            if not 0 <= share <= 1:
                raise UserError(f"view.{name}={share}: expected a probability from 0 to 1.")
        if limit <= 0:
            raise UserError(f"view.limit must be positive, got {limit}.")
        self.motion_length, self.negatives = motion_length, negatives
        self.size, self.motion_size = size, motion_size
        self.area, self.ratio, self.sigma, self.limit = area, ratio, sigma, limit
        self.flip, self.blur = (flip, blur) if train else (0.0, 0.0)
        self.jitter, self.grey = (jitter, grey) if train else (0.0, 0.0)
        self.published, self.train = published_vectors, train

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class.

        Raises:
            UserError: the clip has no motion vectors, or not as many as expected.
        """
        vectors = clip.labels.get("vectors")
        count = (1 + self.negatives) * self.motion_length
        if vectors is None:
            raise UserError(
                f"CMD learns from motion vectors, which {clip.key} does not have: use "
                "data=toy_compressed or data=compressed_videos."
            )
        if len(vectors) != count:
            raise UserError(
                f"{clip.key} has {len(vectors)} maps of motion vectors, but view.motion_length="
                f"{self.motion_length} and view.negatives={self.negatives} need {count}: set them "
                "as data.motion_length and data.negatives."
            )
        size = clip.frames.shape[2:]
        crops = self._windows(rng, size)
        flips = rng.random(len(crops)) < self.flip
        sigmas = np.where(rng.random(2) < self.blur, rng.uniform(*self.sigma, 2), 0.0)
        images = clip.frames.transpose(0, 2, 3, 1)
        frames = [self._cut(image, crops[0], flips[0], sigmas[0]) for image in images[:-1]]
        maps = np.asarray(vectors, np.float32)
        windows = maps.reshape(-1, self.motion_length, *maps.shape[1:])
        motion = [
            self._cut_motion(window, crops[place], flips[place], (size[0], size[1]))
            for window, place in zip(windows, [0, *range(2, len(crops))], strict=True)
        ]
        return {
            "clip": torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy()),
            "context": torch.from_numpy(
                self._cut(images[-1], crops[1], flips[1], sigmas[1]).transpose(2, 0, 1).copy()
            ),
            "motion": torch.from_numpy(np.stack(motion).astype(np.float16)),
            "color": self._colors(rng),
        }

    def _windows(self, rng: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.int64]:
        """(2 + K, 4) top, left, height and width: of the clip, of the key frame, of each motion
        from elsewhere."""
        frame, count = (size[0], size[1]), 2 + self.negatives
        if self.train:
            return draw_crops(rng, count, frame, self.area, self.ratio)
        return np.array([middle_crop(frame, (1.0, 1.0))] * count, np.int64)

    def _colors(self, rng: np.random.Generator) -> Tensor:
        factors = draw_color_jitter(rng, 2, **_JITTER)
        changed, grey = rng.random((2, 2))
        same = torch.tensor([1.0, 1.0, 1.0, 0.0])
        factors[torch.from_numpy(changed >= self.jitter)] = same
        factors[torch.from_numpy(grey < self.grey), 2] = 0
        return factors

    def _cut(
        self, image: NDArray[np.uint8], crop: NDArray[np.int64], flip: bool, sigma: float
    ) -> NDArray[np.uint8]:
        """The window of (H, W, 3) as (S, S, 3)."""
        top, left, height, width = crop.tolist()
        window = np.ascontiguousarray(image[top : top + height, left : left + width])
        resized = geometry.resize_image(window, (self.size, self.size))
        if sigma > 0:
            blurred = cv2.GaussianBlur(resized, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
            resized = np.asarray(blurred, np.uint8)
        return resized[:, ::-1] if flip else resized

    def _cut_motion(
        self,
        maps: NDArray[np.float32],
        crop: NDArray[np.int64],
        flip: bool,
        size: tuple[int, int],
    ) -> NDArray[np.float32]:
        """The same window of maps (M, 2, h, w) of the whole frame as (M, 2, G, G), in units of
        `limit`."""
        top, left, height, width = crop.tolist()
        steps = (np.arange(self.motion_size) + 0.5) / self.motion_size
        rows = (top + height * steps) * maps.shape[2] / size[0] - 0.5
        columns = (left + width * (steps[::-1] if flip else steps)) * maps.shape[3] / size[1] - 0.5
        x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        found = np.stack(
            [
                cv2.remap(np.ascontiguousarray(m.transpose(1, 2, 0)), x, y, cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)
                for m in maps
            ]
        ).transpose(0, 3, 1, 2)  # fmt: skip
        scale = np.ones(2, np.float32)
        if not self.published:
            scale = np.array([self.size / width, self.size / height], np.float32)
            if flip:
                scale[0] = -scale[0]
        moved = found * scale[:, None, None]
        return np.asarray(np.clip(moved, -self.limit, self.limit) / self.limit, np.float32)

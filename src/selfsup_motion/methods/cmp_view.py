"""What CMP sees of a clip: an image, its motion to the next frame, guidance sampled from it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError
from selfsup_motion.ops.guidance import Strategy, sample_guidance


class CMPView:
    """Clip → image, flow and guidance points (CMP, section 3.1).

    Uses the first two frames of the clip. The second is never decoded for its own sake: only the
    flow that leads to it matters.

    Output, for a crop of H × W and K = max_points:
    `image` uint8 (3, H, W); `flow` float32 (2, H, W); `valid` bool (H, W); `points` float32 (K, 2)
    x, y; `vectors` float32 (K, 2); `point_mask` bool (K,), False where a row is padding.
    """

    def __init__(
        self,
        *,
        crop_size: tuple[int, int] | int,
        grid_ratio: float,
        nms_size: int,
        max_points: int,
        strategies: Sequence[Strategy] = ("grid", "watershed"),
        short_side: int | None = None,
        train: bool = True,
        flip: bool = False,
        few_points: float = 0.0,
    ) -> None:
        """Define the view.

        Args:
            crop_size: (height, width) in pixels, or one side of a square; smaller frames are padded
                with black that counts as invalid.
            grid_ratio: guidance points per pixel on the regular grid; its stride is
                int(sqrt(1 / grid_ratio)).
            nms_size: window in pixels in which a motion-edge-distance maximum is unique; odd.
            max_points: at most so many guidance points, drawn at random.
            strategies: where guidance is put; see `ops.guidance.sample_guidance`.
            short_side: resize to this short side before cropping (null: keep the size).
            train: crop at random (else at the centre).
            flip: mirror half of the samples left-right (training only).
            few_points: share of training samples that keep only a random part of their points,
                down to one, so that the network also answers a user's few arrows.
        """
        self.crop_size = (
            (crop_size, crop_size)
            if isinstance(crop_size, int)
            else (int(crop_size[0]), int(crop_size[1]))
        )
        self.grid_ratio, self.nms_size, self.max_points = grid_ratio, nms_size, max_points
        self.strategies, self.short_side = tuple(strategies), short_side
        self.train, self.flip, self.few_points = train, flip, few_points
        if max_points < 1:
            raise UserError(f"view.max_points must be at least 1, not {max_points}")
        if not 0 <= few_points <= 1:
            raise UserError(f"view.few_points is a share between 0 and 1, not {few_points}")
        # options that cannot work fail here, not in a worker in the middle of an epoch
        self._guidance(np.zeros((2, *self.crop_size), np.float32), None, np.random.default_rng(0))

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; all its randomness comes from `rng`."""
        if clip.flow is None or len(clip.flow) == 0:
            raise UserError(
                f"CMP learns from flow, but {clip.key} has none: use a source with flow "
                "(data.flow=dis estimates it) and clips of at least 2 frames"
            )
        image = np.ascontiguousarray(clip.frames[0].transpose(1, 2, 0))
        flow = np.ascontiguousarray(clip.flow[0].transpose(1, 2, 0))
        valid = np.ones(image.shape[:2], bool) if clip.valid is None else clip.valid[0]

        image, flow, valid = self._resize(image, flow, valid)
        image, flow, valid = self._crop(image, flow, valid, rng)
        if self.train and self.flip and rng.random() < 0.5:
            image, flow, valid = image[:, ::-1], flow[:, ::-1] * (-1, 1), valid[:, ::-1]
        flow = np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)

        points = self._guidance(flow, valid, rng)
        if self.train and len(points) > 1 and rng.random() < self.few_points:
            points = points[: rng.integers(1, len(points))]
        count = len(points)
        padded = np.zeros((self.max_points, 2), np.float32)
        vectors = np.zeros((self.max_points, 2), np.float32)
        padded[:count] = points
        vectors[:count] = flow[:, points[:, 1], points[:, 0]].T
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "flow": torch.from_numpy(np.where(valid, flow, np.float32(0))),
            "valid": torch.from_numpy(np.ascontiguousarray(valid)),
            "points": torch.from_numpy(padded),
            "vectors": torch.from_numpy(vectors),
            "point_mask": torch.arange(self.max_points) < count,
        }

    def _guidance(
        self,
        flow: NDArray[np.float32],
        valid: NDArray[np.bool_] | None,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        try:
            return sample_guidance(
                flow,
                self.strategies,
                grid_ratio=self.grid_ratio,
                nms_size=self.nms_size,
                max_points=self.max_points,
                rng=rng,
                flow_valid=valid,
            )[2]
        except ValueError as error:
            raise UserError(f"view (CMP guidance): {error}") from error

    def _resize(
        self, image: NDArray[np.uint8], flow: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        height, width = valid.shape
        if self.short_side is None or min(height, width) == self.short_side:
            return image, flow, valid
        ratio = self.short_side / min(height, width)
        new = (round(width * ratio), round(height * ratio))
        smooth = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, new, interpolation=smooth).astype(np.uint8, copy=False)
        resized = cv2.resize(flow, new, interpolation=cv2.INTER_LINEAR)
        factors = np.array([new[0] / width, new[1] / height], np.float32)
        # a pixel that mixes in any unknown motion is unknown
        known = cv2.resize(valid.astype(np.float32), new, interpolation=cv2.INTER_LINEAR) > 0.999
        return image, (resized * factors).astype(np.float32, copy=False), known

    def _crop(
        self,
        image: NDArray[np.uint8],
        flow: NDArray[np.float32],
        valid: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        height, width = self.crop_size
        missing = max(0, height - valid.shape[0]), max(0, width - valid.shape[1])
        if any(missing):
            margins = [(n // 2, n - n // 2) for n in missing]
            image = np.pad(image, (*margins, (0, 0)))
            flow = np.pad(flow, (*margins, (0, 0)))
            valid = np.pad(valid, margins)
        slack = valid.shape[0] - height, valid.shape[1] - width
        if self.train:
            top, left = (int(rng.integers(n + 1)) for n in slack)
        else:
            top, left = (n // 2 for n in slack)
        window = slice(top, top + height), slice(left, left + width)
        return image[window], flow[window], valid[window]

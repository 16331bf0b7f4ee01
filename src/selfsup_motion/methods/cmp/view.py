"""What CMP sees of a clip: an image, its motion to the next frame, guidance sampled from it."""

from __future__ import annotations

from collections.abc import Sequence
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
from selfsup_motion.methods.cmp.arrows import draw_arrows_and_pins, draw_arrows_on_things
from selfsup_motion.ops.dominant_motion import dominant_motion
from selfsup_motion.ops.guidance import Strategy, sample_guidance


class CMPView(View):
    """Clip → image, flow and guidance points (CMP, section 3.1).

    Uses the first two frames of the clip. The second is never decoded for its own sake: only the
    flow that leads to it matters.

    Output, for a crop of H × W and K = max_points:
    `image` uint8 (3, H, W); `flow` float32 (2, H, W); `valid` bool (H, W); `points` float32 (K, 2)
    x, y; `vectors` float32 (K, 2); `point_mask` bool (K,), False where a row is padding. In
    validation, of a clip with the labels `masks` and `parts`, also `rigid` uint8 (H, W): which of
    the pieces that move rigidly a pixel belongs to, 0 the background.
    """

    needs_flow: ClassVar[str] = "CMP"
    """Named when a source has no flow."""
    first_frame_only: ClassVar[bool] = True
    """Of a clip's frames, only the first is looked at (if there is flow)."""

    def __init__(
        self,
        *,
        crop_size: tuple[int, int] | int = 320,
        grid_ratio: float = 3.629e-5,
        nms_size: int = 67,
        max_points: int = 150,
        strategies: Sequence[Strategy] = ("grid", "watershed"),
        short_side: int | None = None,
        published_resize: bool = False,
        train: bool = True,
        flip: bool = False,
        few_points: float = 0.0,
        flow_reverse: bool = False,
        flow_scale: tuple[float, float] | None = None,
        flow_rotate: bool = False,
        arrows: float = 0.0,
        thing_arrows: float = 0.0,
        still_camera: bool = False,
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
            published_resize: resize as the published code does: sizes cut off instead of rounded,
                bicubic, both components of the flow scaled by the ratio of the heights.
            train: crop at random (else at the centre).
            flip: mirror half of the samples left-right (training only).
            few_points: share of training samples that keep only a random part of their points,
                down to one, so that the network also answers a user's few arrows.
            flow_reverse: turn the motion of half of the samples round (training only). This and the
                next two change the flow and not the image: what moves together still does, only
                otherwise than in the video. The published code has them; no recipe uses them.
            flow_scale: multiply the motion by a factor drawn between these two (training only;
                published: 0.5, 2).
            flow_rotate: turn the motion of half of the samples by an angle out of the full circle
                (training only).
            arrows: share of training samples whose guidance is as a person gives it: one to eight
                points anywhere on what moves, and often some on what does not.
            thing_arrows: share of all samples, also in validation, whose guidance is one to four
                arrows on each thing that moves, and pins elsewhere; only of sources with the labels
                `masks` and `moving` (data=worlds).
            still_camera: subtract the dominant motion, an affine fit, so that the background rests
                and guidance there is a pin.
        """
        self.crop_size = (
            (crop_size, crop_size)
            if isinstance(crop_size, int)
            else (int(crop_size[0]), int(crop_size[1]))
        )
        self.grid_ratio, self.nms_size, self.max_points = grid_ratio, nms_size, max_points
        self.strategies, self.short_side = tuple(strategies), short_side
        self.published_resize = published_resize
        self.train, self.flip, self.few_points = train, flip, few_points
        self.flow_reverse, self.flow_scale, self.flow_rotate = flow_reverse, flow_scale, flow_rotate
        self.arrows, self.still_camera = arrows, still_camera
        self.thing_arrows = thing_arrows
        if max_points < 1:
            raise UserError(f"view.max_points must be at least 1, not {max_points}")
        if not 0 <= few_points <= 1:
            raise UserError(f"view.few_points is a share between 0 and 1, not {few_points}")
        if not 0 <= arrows <= 1:
            raise UserError(f"view.arrows is a share between 0 and 1, not {arrows}")
        if not 0 <= thing_arrows <= 1:
            raise UserError(f"view.thing_arrows is a share between 0 and 1, not {thing_arrows}")
        if flow_scale is not None and not 0 < flow_scale[0] <= flow_scale[1]:
            raise UserError(
                f"view.flow_scale is the smallest and the largest factor, above 0, not {flow_scale}"
            )
        # options that cannot work fail here, not in a worker in the middle of an epoch
        self._guidance(np.zeros((2, *self.crop_size), np.float32), None, np.random.default_rng(0))

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; all its randomness comes from `rng`."""
        if clip.flow is None or len(clip.flow) == 0:
            raise UserError(
                f"CMP learns from flow, but {clip.key} has none: use a source with flow "
                "(data.flow=dis estimates it) and clips of at least 2 frames"
            )
        image = _channel_last(clip.frames[0])
        flow = _channel_last(clip.flow[0])
        valid = np.ones(image.shape[:2], bool) if clip.valid is None else clip.valid[0]
        size = self._size(image.shape[0], image.shape[1])
        ratio = size[0] / len(valid) if self.published_resize else None
        layers: list[NDArray[Any]] = [
            self._resize(image, size),
            geometry.resize_flow(flow, size, ratio=ratio),
            geometry.resize_valid(valid, size),
        ]
        if not self.train and {"masks", "parts"} <= clip.labels.keys():
            layers.append(_rigid_pieces(clip, size))
        by_thing = self.thing_arrows > 0 and {"masks", "moving"} <= clip.labels.keys()
        if by_thing:
            things = clip.labels["masks"][0].astype(np.uint8)
            layers.append(cv2.resize(things, size[::-1], interpolation=cv2.INTER_NEAREST))
        image, flow, valid, *labels = self._crop(rng, *layers)
        if self.train and self.flip and rng.random() < 0.5:
            image, flow, valid = image[:, ::-1], flow[:, ::-1] * (-1, 1), valid[:, ::-1]
            labels = [label[:, ::-1] for label in labels]
        flow = np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)
        valid = np.ascontiguousarray(valid)
        drawn = None
        if by_thing and rng.random() < self.thing_arrows:
            moving = clip.labels["moving"].tolist()
            drawn = draw_arrows_on_things(labels.pop(), moving, valid, self.max_points, rng)
        elif by_thing:
            labels.pop()
        sample = {"image": _tensor(image), **self._guide(flow, valid, rng, drawn)}
        if labels:
            sample["rigid"] = torch.from_numpy(np.ascontiguousarray(labels[0]))
        return sample

    def pair(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample that still lacks its flow: see `DeferredFlow`.

        Returns:
            `image` and `next_image` uint8 (3, H, W), cropped alike; `inside` bool (H, W), False
            where they are padding; `guidance_seed` int64 ().
        """
        if len(clip.frames) < 2:
            raise UserError(
                f"CMP learns from flow, but {clip.key} has a single frame: use clips of 2 frames"
            )
        size = self._size(clip.frames.shape[2], clip.frames.shape[3])
        image, following = (self._resize(_channel_last(frame), size) for frame in clip.frames[:2])
        image, following, inside = self._crop(rng, image, following, np.ones(size, bool))
        if self.train and self.flip and rng.random() < 0.5:
            image, following, inside = image[:, ::-1], following[:, ::-1], inside[:, ::-1]
        return {
            "image": _tensor(image),
            "next_image": _tensor(following),
            "inside": torch.from_numpy(np.ascontiguousarray(inside)),
            "guidance_seed": torch.tensor(int(rng.integers(1 << 63)), dtype=torch.int64),
        }

    def finish(self, batch: dict[str, Any], flow: Tensor, valid: Tensor) -> dict[str, Any]:
        """Complete a batch of `pair` samples: see `DeferredFlow`.

        Guidance is sampled on the CPU: about a millisecond a sample.

        Args:
            batch: of B pairs, and anything else, on some device; changed in place.
            flow: (B, 2, H, W) float32 from `image` to `next_image`.
            valid: (B, H, W) bool.

        Returns:
            A batch as of `__call__`, on the same device.
        """
        known = valid & batch["inside"]
        guided = [
            self._guide(f, v, np.random.default_rng(seed))
            for f, v, seed in zip(
                flow.cpu().numpy(),
                known.cpu().numpy(),
                batch["guidance_seed"].tolist(),
                strict=True,
            )
        ]
        for name in ("next_image", "inside", "guidance_seed"):
            del batch[name]
        for name in guided[0]:
            batch[name] = torch.stack([sample[name] for sample in guided]).to(flow.device)
        return batch

    def _guide(
        self,
        flow: NDArray[np.float32],
        valid: NDArray[np.bool_],
        rng: np.random.Generator,
        points: NDArray[np.int64] | None = None,
    ) -> dict[str, Tensor]:
        """Flow (2, H, W), validity (H, W) and the guidance at `points`, or sampled, as output."""
        if self.still_camera:
            flow = flow - _dominant(flow, valid)
        if self.train:
            flow = self._other_motion(flow, rng)
        if points is None:
            points = self._sampled(flow, valid, rng)
        count = len(points)
        padded = np.zeros((self.max_points, 2), np.float32)
        vectors = np.zeros((self.max_points, 2), np.float32)
        padded[:count] = points
        vectors[:count] = flow[:, points[:, 1], points[:, 0]].T
        return {
            "flow": torch.from_numpy(np.where(valid, flow, np.float32(0))),
            "valid": torch.from_numpy(valid),
            "points": torch.from_numpy(padded),
            "vectors": torch.from_numpy(vectors),
            "point_mask": torch.arange(self.max_points) < count,
        }

    def _sampled(
        self, flow: NDArray[np.float32], valid: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Guidance as published, or as `few_points` and `arrows` ask."""
        points = self._guidance(flow, valid, rng)
        if self.train and len(points) > 1 and rng.random() < self.few_points:
            points = points[: rng.integers(1, len(points))]
        if self.train and self.arrows > 0 and rng.random() < self.arrows:
            drawn = draw_arrows_and_pins(flow, valid, self.max_points, rng)
            points = points if drawn is None else drawn
        return points

    def _other_motion(
        self, flow: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """The flow as `flow_reverse`, `flow_scale` and `flow_rotate` change it."""
        if self.flow_reverse and rng.random() < 0.5:
            flow = -flow
        if self.flow_scale is not None:
            flow = flow * np.float32(rng.uniform(*self.flow_scale))
        if self.flow_rotate and rng.random() < 0.5:
            angle = rng.uniform(0, 2 * np.pi)
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            flow = np.stack([cos * flow[0] - sin * flow[1], sin * flow[0] + cos * flow[1]])
        return flow

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

    def _size(self, height: int, width: int) -> geometry.Size:
        """What frames of this size are resized to."""
        if self.short_side is None or min(height, width) == self.short_side:
            return height, width
        rule = geometry.published_size if self.published_resize else geometry.short_side_size
        return rule((height, width), self.short_side)

    def _resize(self, image: NDArray[np.uint8], size: geometry.Size) -> NDArray[np.uint8]:
        if self.published_resize:
            return geometry.resize_bicubic(image, size)
        return geometry.resize_image(image, size)

    def _crop(self, rng: np.random.Generator, *layers: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Cut the same window, `crop_size` large, out of all layers (H, W, …)."""
        size = layers[0].shape[0], layers[0].shape[1]
        margins = geometry.padding(size, self.crop_size)
        if margins is not None:
            layers = tuple(np.pad(a, (*margins, (0, 0))[: a.ndim]) for a in layers)
        height, width = self.crop_size
        slack = layers[0].shape[0] - height, layers[0].shape[1] - width
        if self.train:
            top, left = (int(rng.integers(n + 1)) for n in slack)
        else:
            top, left = (n // 2 for n in slack)
        window = slice(top, top + height), slice(left, left + width)
        return tuple(layer[window] for layer in layers)


def _rigid_pieces(clip: Clip, size: geometry.Size) -> NDArray[np.uint8]:
    """(H, W): a number per instance and part, in the first frame; 0 where there is neither."""
    masks, parts = (clip.labels[name][0].astype(np.int64) for name in ("masks", "parts"))
    if max(masks.max(initial=0), parts.max(initial=0)) < 16:
        pieces = masks * 16 + parts
    else:  # one after another, so that as many as possible have a number
        both = masks * (parts.max() + 1) + parts
        present, places = np.unique(both, return_inverse=True)
        pieces = places.reshape(both.shape) + (present[0] > 0)
    if pieces.max(initial=0) > 255:
        raise UserError(
            f"{clip.key}: a frame has more than 255 parts of objects; leave parts out of its labels"
        )
    pieces = pieces.astype(np.uint8)
    return np.asarray(cv2.resize(pieces, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _dominant(flow: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    fitted = dominant_motion(torch.from_numpy(flow)[None], torch.from_numpy(valid)[None])
    return np.asarray(fitted[0].numpy(), np.float32)


def _channel_last(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array.transpose(1, 2, 0))


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) to (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))

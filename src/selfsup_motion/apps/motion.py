"""A photo and arrows → the motion of every pixel."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.apps.arrows import ArrowSet
from selfsup_motion.apps.photo import shrunk
from selfsup_motion.methods.cmp.propagate import EncodedImages
from selfsup_motion.methods.cmp.steps import STEP, as_step
from selfsup_motion.ops.motion_refinement import refine_motion
from selfsup_motion.ops.pictures import Picture, as_tensor
from selfsup_motion.weights.trained_cmp import Weights

Refinement = Literal["grabcut"]

_COPY_SIDE = 1080
"""Short side of the copy that the motion of a larger photo is predicted for."""

TIMES = 8
"""At which paths are looked at; between them, motion is even."""


class MovingPhoto:
    """A photo whose motion is predicted.

    Of a large photo, the motion is that of a smaller copy. The network and GrabCut see the photo
    smaller still, so nothing is lost, and much memory and time are saved.

    Attributes:
        photo: (3, H, W) uint8.
        copy: (3, h, w) uint8: that motion is predicted for; often the photo itself.
    """

    def __init__(self, weights: Weights, photo: Tensor) -> None:
        """Nothing is computed yet.

        Args:
            weights: the network.
            photo: (3, H, W) uint8.
        """
        self.photo = photo
        self.copy = shrunk(photo, max_short_side=max(_COPY_SIDE, weights.short_side))
        self._weights = weights
        self._encoded: EncodedImages | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photo."""
        return self.photo.shape[-2], self.photo.shape[-1]

    @property
    def scale(self) -> float:
        """Pixels of the photo for one of the copy."""
        return max(self.size) / max(self.copy.shape[-2:])

    def encode(self) -> None:
        """Let the network look at it now, so that each motion only takes what is its own."""
        if self._encoded is None:
            self._encoded = encode(self._weights, self.copy)

    def motion(self, arrows: ArrowSet, refine: Refinement | None = None) -> Tensor:
        """See `predict_motion`; of arrows on the photo, a flow of the copy, in its pixels."""
        self.encode()
        arrows = arrows.resized(self.size, (self.copy.shape[-2], self.copy.shape[-1]))
        return predict_motion(self._weights, self.copy, arrows, refine, self._encoded)

    def whole(self, flow: Tensor) -> Tensor:
        """A flow (2, h, w) of the copy as one (2, H, W) of the photo."""
        return resized_flow(flow, self.size)


def resized_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow (2, h, w), or several (T, 2, h, w), of an image resized to (height, width)."""
    if flow.shape[-2:] == size:
        return flow
    scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]]).view(2, 1, 1)
    batch = flow if flow.ndim == 4 else flow[None]
    resized = F.interpolate(batch, size, mode="bilinear", antialias=True).mul_(scale)
    return resized if flow.ndim == 4 else resized[0]


def length_warning(weights: Weights, image: Tensor, arrows: ArrowSet) -> str | None:
    """A sentence if the longest arrow is longer than any motion that the network can answer."""
    limit = weights.method.motion_code.max_flow
    scale = weights.short_side / min(image.shape[-2:])
    longest = float(torch.from_numpy(arrows.vectors).norm(dim=-1).max())
    if limit is None or longest * scale <= limit:
        return None
    step = STEP * min(image.shape[-2:])
    return (
        f"the longest arrow, {longest:.0f} px, is longer than any motion that the network can "
        f"predict ({limit / scale:.0f} px on this photo): its prediction for {step:.0f} px is "
        f"scaled up {longest / step:.1f} times, which may stretch or tear the image."
    )


def overlap_warning(weights: Weights, image: Tensor, arrows: ArrowSet) -> str | None:
    """A sentence if two points that say different things are in one pixel of what the network
    sees."""
    scale = weights.short_side / min(image.shape[-2:])
    points, vectors = torch.from_numpy(arrows.points), torch.from_numpy(arrows.vectors)
    apart = torch.cdist(points, points)
    differ = (vectors[:, None] != vectors[None]).any(-1)
    close = torch.nonzero((apart * scale < 1) & differ)
    if not len(close):
        return None
    first, second = close[0].tolist()
    places = " and ".join(f"x={x:g}, y={y:g}" for x, y in points[[first, second]].tolist())
    return (
        f"the points at {places} have different motions, but lie in one pixel of the photo as the "
        f"network sees it (short_side={weights.short_side}), which may not keep them apart."
    )


def encode(weights: Weights, image: Tensor) -> EncodedImages:
    """What the network sees of a picture (3, H, W) RGB uint8, at the size that it is used at."""
    image = image.to(weights.method.device)
    return weights.method.encode(image, short_side=weights.short_side)


def predict_motion(
    weights: Weights,
    image: Picture,
    arrows: ArrowSet,
    refine: Refinement | None = None,
    encoded: EncodedImages | None = None,
) -> Tensor:
    """Let CMP spread the arrows over a photo.

    The network knows motions from one frame to the next. Longer arrows are shortened to such a
    step, all by the same factor, and the flow is lengthened by it again.

    Args:
        weights: the network.
        image: a single picture, RGB uint8, see `ops.pictures.Picture`.
        arrows: in pixels of the image.
        refine: "grabcut": what moves ends at edges of the image, see `refine_motion`.
        encoded: of `encode`, to ask about one image again and again; None: it is encoded here.

    Returns:
        (2, H, W) float32 on the network's device, in pixels, for the whole length of the arrows.
        With paths (T, 2, H, W): the motion from the beginning to T evenly spaced times, the last
        of which is the end.
    """
    image = as_tensor(image)
    if encoded is None:
        encoded = encode(weights, image)
    if not arrows.paths:
        flow, points, vectors = _answer(encoded, arrows)
        return flow if refine is None else refine_motion(flow, image, points, vectors)
    answers = [_answer(encoded, arrows.at(step / TIMES)) for step in range(1, TIMES + 1)]
    flows = torch.stack([flow for flow, _, _ in answers])
    if refine is None:
        return flows
    # what moves is seen best where it is farthest away
    flow, points, vectors = max(answers, key=lambda answer: float(answer[2].norm()))
    return refine_motion(flow, image, points, vectors, flows)


def farthest(flow: Tensor) -> Tensor:
    """(2, H, W) of what `predict_motion` returns: with paths, when things are farthest away."""
    return flow if flow.ndim == 3 else flow[int(flow.norm(dim=1).mean((1, 2)).argmax())]


def _answer(encoded: EncodedImages, arrows: ArrowSet) -> tuple[Tensor, Tensor, Tensor]:
    """The flow, and the points and vectors that were asked about, on its device."""
    device = encoded.images.device
    points, vectors = (torch.from_numpy(a).to(device) for a in (arrows.points, arrows.vectors))
    step, factor = as_step(vectors, min(encoded.size))
    return encoded.propagate(points, step) * factor, points, vectors

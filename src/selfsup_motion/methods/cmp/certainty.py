"""How sure CMP is of an answer: the motions that it holds possible for each pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.methods.cmp.propagate import EncodedImages, Points
from selfsup_motion.methods.cmp.steps import STEP
from selfsup_motion.models.motion_decoders.rest_attention import RestAttentionDecoder
from selfsup_motion.models.precision import own_precision
from selfsup_motion.ops.motion_modes import MotionModes, mixture_modes, motion_modes

_ALIKE = 0.1
"""Motions that differ by this share of a usual one count as alike."""


def uncertainty(
    encoded: EncodedImages, points: Points, vectors: Points, *, count: int = 3
) -> MotionModes:
    """Entropy and modes of the answer to a few points.

    Of a network that classifies motions (`FlowBins`, `JointBins`, `PolarBins`), they are those of
    its classes; the entropy then depends on how many there are. `RestAttentionDecoder` mixes
    resting and two motions; motions that are alike count as one, so that the entropy is at most
    1.6 bits, and 1 bit where a pixel moves or rests with equal chances.

    Args:
        encoded: a single image, of `CMP.encode`.
        points: (K, 2), see `CMP.propagate`, or (T, K, 2) for several answers.
        vectors: alike. As long as motions from one frame to the next, see `as_step`.
        count: modes to return; of a mixture there are three.

    Returns:
        For T answers (1 without time) `entropy` (T, H, W), `shares` (T, M, H, W) and `motions`
        (T, M, 2, H, W), at the size and in the pixels of the image. Modes have no order from pixel
        to pixel but their share, so they are enlarged without mixing neighbours.

    Raises:
        ValueError: the network predicts motions without probabilities, or several images.
    """
    method = encoded.method
    if not isinstance(method, CMPNetwork) or not encoded.single:
        raise ValueError("uncertainty needs a single image, encoded by a CMP")
    work = encoded.images.shape[-2], encoded.images.shape[-1]
    found: list[MotionModes] = []
    with encoded.modes():
        for given in encoded.asked(encoded.guidance(points, vectors)):
            if isinstance(method.propagation, RestAttentionDecoder):
                with own_precision(method):
                    mixture = method.propagation.mixture(*given, work)
                found.append(mixture_modes(*mixture, alike=_ALIKE * STEP * min(work)))
            else:
                scores = method.spread(*given, work)[0]
                found.append(motion_modes(method.motion_code, scores, count))
    entropy, shares, motions = (torch.cat(part) for part in zip(*found, strict=True))
    motions = motions / encoded.scale.view(2, 1, 1)
    flat = motions.flatten(1, 2)
    return MotionModes(
        F.interpolate(entropy[:, None], encoded.size, mode="bilinear", antialias=True)[:, 0],
        F.interpolate(shares, encoded.size, mode="nearest-exact"),
        F.interpolate(flat, encoded.size, mode="nearest-exact").view(
            *motions.shape[:3], *encoded.size
        ),
    )

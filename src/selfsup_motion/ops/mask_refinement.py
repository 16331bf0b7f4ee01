"""Scores of an object that follow the edges and colours of the image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.ops.masks import check_weight

_GRABCUT_ROUNDS = 4
_WINDOW = 4
"""Of the guided filter: radius of its windows on the reduced image, where they are fitted."""


def refine_guided(score: NDArray[np.float32], image: Tensor) -> NDArray[np.float32]:
    """Let a score follow the edges of the image: fast guided filter (He & Sun 2015), of kornia.

    Args:
        score: (H, W) in [0, 1].
        image: (3, H, W) uint8.

    Raises:
        ValueError: a score that is not floating point or of another size.
    """
    check_weight("score", score, image.shape[1:])
    from kornia.filters import guided_blur

    radius = max(1, min(score.shape) // 40)
    blurred = guided_blur(
        image[None] / 255, torch.from_numpy(score)[None, None], 2 * radius + 1,
        eps=1e-3, subsample=max(1, radius // _WINDOW), separable=True,
    )  # fmt: skip
    return np.asarray(blurred[0, 0].clamp_(0, 1).numpy(), np.float32)


def refine_grabcut(
    score: NDArray[np.float32], image: Tensor, *, side: int = 360, sure: float = 0.05
) -> NDArray[np.float32]:
    """Cut along colours and edges where a score is undecided: GrabCut, of OpenCV.

    Args:
        score: (H, W) in [0, 1].
        image: (3, H, W) uint8.
        side: short side in pixels at which GrabCut works; never more than the image's.
        sure: GrabCut may not take what scores less for the object, nor what scores more than 1
            minus this for its surroundings.

    Returns:
        (H, W): 1 on the object, 0 elsewhere, between on pixels that GrabCut at reduced size mixes.

    Raises:
        ValueError: a score that is not floating point or of another size.
    """
    check_weight("score", score, image.shape[1:])
    height, width = score.shape
    scale = min(1.0, side / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(score, size, interpolation=cv2.INTER_AREA)
    labels = np.where(small > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[small < sure] = cv2.GC_BGD
    labels[small > 1 - sure] = cv2.GC_FGD
    object_side = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if object_side.all() or not object_side.any():
        return score
    inside, outside = np.zeros((1, 65)), np.zeros((1, 65))  # its colour models
    nothing = (0, 0, 0, 0)
    cv2.setRNGSeed(0)  # its k-means would start differently at every call
    cv2.grabCut(picture, labels, nothing, outside, inside, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

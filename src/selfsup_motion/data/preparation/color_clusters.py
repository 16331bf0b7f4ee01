"""The colours that occur in a set of videos, as a few clusters (CorrFlow's classes)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.loading.sampling import ClipSampler
from selfsup_motion.data.source import Source
from selfsup_motion.errors import BadFilesError, ClipReadError, UserError
from selfsup_motion.text.progress import OnProgress

_ITERATIONS, _CHANGE = 100, 0.01


def fit_colors(
    source: Source,
    sampler: ClipSampler,
    *,
    clusters: int,
    frames: int,
    pixels: int,
    seed: int,
    progress: OnProgress,
) -> NDArray[np.float32]:
    """Cluster the colours of randomly chosen frames.

    Args:
        source: of the videos.
        sampler: chooses the frames of a clip, of which the first is taken.
        clusters: K.
        frames: how many frames, of different videos as far as there are enough.
        pixels: how many pixels of each frame.
        seed: of all choices.
        progress: told how many frames are done, of how many, and about bad ones.

    Returns:
        (K, 2) a and b of Lab, the most frequent colour first.

    Raises:
        BadFilesError: no frame could be read.
        UserError: fewer colours than clusters.
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate(
        [rng.permutation(len(source)) for _ in range(-(-frames // len(source)))]
    )[:frames]
    samples: list[NDArray[np.float32]] = []
    bad: list[str] = []
    for number, video in enumerate(order.tolist(), start=1):
        try:
            first = sampler(source.info(video), rng, 0)[:1]
            frame = source.read(video, first).frames[0].transpose(1, 2, 0)
        except ClipReadError as error:
            bad.append(str(error))
        else:
            lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
            samples.append(rng.choice(lab[..., 1:].reshape(-1, 2), pixels))
        progress(number, len(order), f"{len(bad)} unreadable")
    if not samples:
        raise BadFilesError(f"None of {len(order)} frames can be read: {bad[0]}")
    colors = np.concatenate(samples)
    if len(np.unique(colors, axis=0)) < clusters:
        raise UserError(
            f"There are fewer than {clusters} colours in {len(samples)} frames: lower clusters or "
            "take more frames."
        )
    cv2.setRNGSeed(seed)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ITERATIONS, _CHANGE)
    start = np.zeros((len(colors), 1), np.int32)  # a shape for the labels, not an initial guess
    _, labels, centers = cv2.kmeans(colors, clusters, start, criteria, 3, cv2.KMEANS_PP_CENTERS)
    sizes = np.bincount(labels.ravel(), minlength=clusters)
    return np.asarray(centers[np.argsort(-sizes, kind="stable")], np.float32)

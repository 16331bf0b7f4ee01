"""What is drawn on a surface of the page, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.web.refusals import Refusal

_MOST_SIDE = 8192
_MOST_RUNS = 2_000_000
_SHOWN_SIDE = 2048
"""Longer side of painted labels, `LABELS_SIDE` of surface.js."""
_WRONG = "labels: expected null or {width, height, runs} with runs that fill it."


def label_map(body: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The painted labels of a document, `labels` of `surface.doc`.

    Args:
        body: of the request, with the key `labels`.
        size: (height, width) to give it; the nearest label where that differs from the painted one.

    Returns:
        (height, width) uint8; None if nothing is painted.

    Raises:
        Refusal: it is no such raster.
    """
    given = body.get("labels")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise Refusal(_WRONG)
    width: Any = given.get("width")
    height: Any = given.get("height")
    runs: Any = given.get("runs")
    for side in (width, height):
        if type(side) is not int or not 1 <= side <= _MOST_SIDE:
            raise Refusal(_WRONG)
    if not isinstance(runs, list) or len(runs) > _MOST_RUNS or len(runs) % 2:
        raise Refusal(_WRONG)
    if not all(type(value) is int and 0 <= value <= _MOST_SIDE**2 for value in runs):
        raise Refusal(_WRONG)
    values, counts = np.array(runs[::2], np.int64), np.array(runs[1::2], np.int64)
    if (values > 255).any() or counts.sum() != width * height:
        raise Refusal(_WRONG)
    painted = np.repeat(values.astype(np.uint8), counts).reshape(height, width)
    if painted.shape == size:
        return painted
    return np.asarray(cv2.resize(painted, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def runs_of(labels: NDArray[np.uint8]) -> dict[str, Any]:
    """Labels (H, W) as the page reads them, `LabelMap.fromJson`; shrunk to the most that it draws
    on."""
    height, width = labels.shape
    scale = min(1.0, _SHOWN_SIDE / max(height, width))
    if scale < 1:
        width, height = (max(1, int(side * scale + 0.5)) for side in (width, height))
        shrunk = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        labels = np.asarray(shrunk, np.uint8)
    flat = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    runs = np.stack([flat[starts[:-1]].astype(np.int64), np.diff(starts)], 1)
    return {"width": width, "height": height, "runs": runs.ravel().tolist()}

"""CMP's guidance sampling: ours against the published recipe, which finds the same points.

    python benchmarks/guidance.py

The published recipe has generic 2-D convolutions, SciPy's distance transform and maximum filter,
and looks at pairs of all tied candidates.
"""

from __future__ import annotations

import numpy as np
from measuring import Call, Comparison, Make, run
from scipy import ndimage, signal

from selfsup_motion.ops.guidance import grid_points, sample_guidance

SETTINGS = [  # name, side, grid ratio, window
    ("AlexNet YFCC", 384, 0.00015625, 41),
    ("AlexNet YFCC+YouTube", 384, 0.000025, 81),
    ("ResNet-50 VOC", 320, 0.00003629, 67),
    ("ResNet-50 COCO", 256, 0.00005632, 49),
    ("ResNet-50 LIP", 320, 0.00015625, 15),
]


def blobs(size: int, seed: int) -> np.ndarray:
    """Drifting ground and ellipses, in the steps of 8-bit stored flow."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    flow = np.broadcast_to(rng.normal(0, 2, (2, 1, 1)), (2, size, size)).copy()
    for _ in range(8):
        center, radius = rng.integers(0, size, 2), rng.integers(size // 20, size // 5, 2)
        inside = ((y - center[0]) / radius[0]) ** 2 + ((x - center[1]) / radius[1]) ** 2 < 1
        flow[:, inside] = rng.normal(0, 8, (2, 1))
    return (np.round((flow + 50) * 2.55) / 2.55 - 50).astype(np.float32)


def published(flow: np.ndarray, ratio: float, window: int, rng: np.random.Generator) -> np.ndarray:
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    edges = np.zeros(flow.shape[1:], np.float32)
    for component in flow:
        x, y = (signal.convolve2d(component, k, "same", "symm") for k in (kernel, kernel.T))
        edges += np.sqrt(x**2 + y**2)
    distance = ndimage.distance_transform_edt(edges / max(edges.max(), 0.01) <= 0.1)
    peaks = np.where(ndimage.maximum_filter(distance, window) == distance, distance, 0)
    peaks[[0, -1]] = 0
    peaks[:, [0, -1]] = 0
    y, x = np.nonzero(peaks)
    near = np.abs(y[:, None] - y) < (window - 1) / 2
    near &= np.abs(x[:, None] - x) < (window - 1) / 2
    alive = np.ones(len(x), bool)
    for i, j in np.argwhere(near):
        if i != j and alive[i] and alive[j]:
            alive[i if rng.random() > 0.5 else j] = False
    points = np.concatenate([grid_points(flow.shape[1:], ratio), np.stack([x, y], 1)[alive]])
    mask = np.zeros((1, *flow.shape[1:]), bool)
    mask[0, points[:, 1], points[:, 0]] = True
    return mask


def ours(flow: np.ndarray, ratio: float, window: int, rng: np.random.Generator) -> np.ndarray:
    return sample_guidance(flow, grid_ratio=ratio, nms_size=window, rng=rng)[1]


def guidance(form: str, flows: list[np.ndarray], ratio: float, window: int) -> Make:
    function = {"published": published, "ours": ours}[form]

    def make() -> Call:
        function(blobs(64, 0), 0.01, 9, np.random.default_rng(0))

        def call() -> float:
            masks = [function(f, ratio, window, np.random.default_rng(0)) for f in flows]
            # of which pixels: not only how many
            return float(sum(np.flatnonzero(m).sum() for m in masks))

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    cases = [
        (f"{name}, {side} × {side}, window {w}", [blobs(side, i) for i in range(8)], r, w)
        for name, side, r, w in SETTINGS
    ]
    noise = np.random.default_rng(0).normal(0, 5, (2, 384, 384)).astype(np.float32)
    cases.append(("noise, 384 × 384, window 15", [noise], 0.00015625, 15))
    return [
        Comparison(
            name,
            {form: guidance(form, flows, ratio, window) for form in ("published", "ours")},
            agree=0 if len(flows) > 1 else None,  # between ties, noise decides by rounding
            unit="flow",
            count=len(flows),
        )
        for name, flows, ratio, window in cases
    ]


if __name__ == "__main__":
    run(comparisons)

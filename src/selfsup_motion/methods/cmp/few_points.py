"""What CMP makes of a few guidance points, measured where the moving parts are known.

`rigid_iou`: one vector is put on a rigid part (a sprite, the torso or a limb of a puppet), the
other points are pins outside it. The region that moves should be the part. `epe`: of the points
sampled from the true motion, only the first few are given.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric

from selfsup_motion.ops.interpolate import edge_aware_interpolation
from selfsup_motion.ops.plot import plot_curves

COUNTS = (1, 2, 4, 8, 16, 32)
"""Numbers of guidance points."""
REPORTED = 16
"""Of these, the one whose value is logged."""

Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(image, points, vectors, point_mask) → flow (B, 2, H, W), as `CMP.forward` followed by decode."""

_LENGTH = 0.05
"""Of the probing vector, as a share of the image's shorter side: 6 px at 128 px."""
_MOVED = 0.5
"""A pixel moved if it moved by more than this share of the vector, as in the annotation demo."""
_LEAST_AREA = 0.004
"""Share of the image below which a part is too small to be asked for."""
_LABELS = {"network": "CMP", "edge_aware": "edge-aware interp."}


class FewPointCurves(nn.Module):
    """Averages over the first clips of a validation, by number of guidance points.

    Args:
        clips: how many, over all ranks.
    """

    def __init__(self, clips: int = 16) -> None:
        super().__init__()
        self.clips = clips
        names = [f"{what}_{who}" for what in ("rigid_iou", "epe") for who in _LABELS]
        self.means = nn.ModuleDict({name: _CurveMean() for name in names})
        self.baseline: dict[str, list[float]] = {}
        self._seen = 0
        self._curves: dict[str, list[float]] = {}

    @torch.no_grad()
    def update(self, batch: dict[str, Any], predict: Predict) -> None:
        """Take in a batch of `CMPView`; without the label `rigid`, or after enough clips, none.

        Args:
            batch: with `image`, `flow`, `valid`, `points`, `vectors`, `point_mask` and `rigid`.
            predict: the network.
        """
        ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        wanted = -(-self.clips // ranks) - self._seen
        if "rigid" not in batch or wanted <= 0:
            return
        names = ("image", "points", "vectors", "point_mask", "flow", "valid", "rigid")
        part = {name: batch[name][:wanted] for name in names}
        predictors: dict[str, Predict] = {"network": predict}
        if not self.baseline:
            predictors["edge_aware"] = edge_aware_interpolation
        self._measure_parts(part, predictors)
        self._measure_errors(part, predictors)
        self._seen += len(part["image"])

    def compute(self) -> dict[str, float]:
        """Reduce over clips and ranks, and begin anew.

        Returns:
            `rigid_iou` and `rigid_iou_edge_aware` at 16 points, `rigid_iou_lone` at one; nothing if
            no clip had the labels, or a part large enough to be asked for.
        """
        if self._seen == 0:
            self._curves = {}
            return {}
        measured = [n for n in self.means if n.endswith("network") or not self.baseline]
        found = {name: self.means[name].compute().tolist() for name in measured}  # type: ignore[operator]
        self.baseline = self.baseline or {n: found[n] for n in measured if n.endswith("aware")}
        self._curves = {**found, **self.baseline}
        self._restart()
        at = COUNTS.index(REPORTED)
        values = {
            "rigid_iou": self._curves["rigid_iou_network"][at],
            "rigid_iou_lone": self._curves["rigid_iou_network"][0],
            "rigid_iou_edge_aware": self._curves["rigid_iou_edge_aware"][at],
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def forget(self) -> None:
        """Drop the baseline and what was begun: other data may follow."""
        self.baseline = {}
        self._restart()

    def figure(self) -> NDArray[np.uint8] | None:
        """Both curves side by side, of the last `compute`; None if it had nothing."""
        if not self._curves:
            return None
        plots = []
        for what, title, top in (
            ("rigid_iou", "IoU: one vector on a part, the others are pins", 1.0),
            ("epe", "end-point error in px, points of the true motion", None),
        ):
            curves = {label: self._curves[f"{what}_{who}"] for who, label in _LABELS.items()}
            plots.append(plot_curves(COUNTS, curves, title=title, x_label="points", top=top))
        return np.concatenate(plots, axis=1)

    def _restart(self) -> None:
        self._seen = 0
        for mean in self.means.values():
            mean.reset()  # type: ignore[operator]

    def _measure_parts(self, part: dict[str, Tensor], predictors: dict[str, Predict]) -> None:
        device, size = part["image"].device, part["rigid"].shape[-2:]
        # numbered by what they show: the same on whichever rank they are
        known = part["rigid"].cpu().numpy()
        probes = [points_on_part(rigid, zlib.crc32(rigid.tobytes())) for rigid in known]
        kept = [item for item, probe in enumerate(probes) if probe is not None]
        if not kept:
            return
        image = part["image"][kept]
        points, pieces = (
            torch.from_numpy(np.stack(arrays)).to(device)
            for arrays in zip(*(p for p in probes if p is not None), strict=True)
        )
        length = _LENGTH * min(size)
        angle = torch.tensor([2.4 * (self._seen + item) for item in kept], device=device)
        vectors = torch.zeros_like(points)
        vectors[:, 0] = length * torch.stack([angle.cos(), angle.sin()], -1)
        for who, predict in predictors.items():
            for index, count in enumerate(COUNTS):
                mask = torch.ones(len(kept), count, dtype=torch.bool, device=device)
                flow = predict(image, points[:, :count], vectors[:, :count], mask)
                moved = flow.norm(dim=1) > _MOVED * length
                union = (moved | pieces).flatten(1).sum(1)
                value = (moved & pieces).flatten(1).sum(1) / union
                self.means[f"rigid_iou_{who}"].update(index, value)  # type: ignore[operator]

    def _measure_errors(self, part: dict[str, Tensor], predictors: dict[str, Predict]) -> None:
        """Guidance points are in random order, so the first few are any few."""
        valid = part["valid"].flatten(1)
        for who, predict in predictors.items():
            for index, count in enumerate(COUNTS):
                given = part["points"][:, :count], part["vectors"][:, :count]
                flow = predict(part["image"], *given, part["point_mask"][:, :count])
                error = (flow - part["flow"]).norm(dim=1).flatten(1)
                value = (error * valid).sum(1) / valid.sum(1).clamp(min=1)
                self.means[f"epe_{who}"].update(index, value[valid.any(1)])  # type: ignore[operator]


def points_on_part(
    rigid: NDArray[np.uint8], number: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Choose a part and where to point at it.

    Args:
        rigid: (H, W), which rigid piece a pixel belongs to; 0 is the background.
        number: of the clip; it decides which part is asked for and where the pins are.

    Returns:
        points (32, 2) x, y: the innermost pixel of the part, then pixels at random outside it;
        piece (H, W) bool. None if all parts are too small or nothing is outside.
    """
    areas = np.bincount(rigid.ravel(), minlength=256)
    areas[0] = 0
    large = np.flatnonzero(areas >= _LEAST_AREA * rigid.size)
    if len(large) == 0:
        return None
    piece = rigid == large[number % len(large)]
    inside = cv2.distanceTransform(np.pad(piece, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    # not on the rim, where the image itself mixes both
    outside = np.flatnonzero(cv2.dilate(piece.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0)
    if len(outside) < COUNTS[-1]:
        return None
    pins = np.random.default_rng(number).choice(outside, COUNTS[-1] - 1, replace=False)
    pixels = np.concatenate([[int(inside.argmax())], pins])
    y, x = np.divmod(pixels, rigid.shape[1])
    return np.stack([x, y], 1).astype(np.float32), piece


class _CurveMean(Metric):
    """Mean value for each of `COUNTS`, NaN for those without any."""

    total: Tensor
    number: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "number"):
            self.add_state(name, torch.zeros(len(COUNTS)), dist_reduce_fx="sum")

    def update(self, index: int, values: Tensor) -> None:
        """Add values to the mean of `COUNTS[index]`."""
        self.total[index] += values.sum()
        self.number[index] += values.numel()

    def compute(self) -> Tensor:
        """(6,) means."""
        return self.total / self.number

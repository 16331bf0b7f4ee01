"""`prepare=cutouts`: what moves in clips, cut out, for `data=worlds`.

Optical flow is smooth and knows outlines only roughly, so training on it teaches blobs. Here it
only says about where something moves; GrabCut finds the outline in the picture, and a frame is kept
if both agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from selfsup_motion.data.flow.estimation import DISFlow
from selfsup_motion.data.preparation.videos import FolderPerVideo, decoded, open_video
from selfsup_motion.data.worlds.cutouts import LIST, Scene
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.files.atomic import folder_size, new_folder, write_text
from selfsup_motion.ops.dominant_motion import dominant_motion

_SIDE = 224
"""Pixels: short side of the pictures, in which flow is estimated."""
_CUT_SIDE = 160
"""Pixels: short side at which GrabCut works."""
_MOVES = 1.2
"""Pixels beyond the camera's motion."""
_MOVING = (0.01, 0.55)
"""Least and largest share of a frame that may move."""
_LEAST_KNOWN = 0.7
"""Share of a frame whose flow is the same forwards and backwards."""
_CAMERA = 0.35
"""Pixels: if half of a frame departs further from the camera's motion, that was not understood."""
_AGREE = 0.45
"""Least intersection over union of what moves and what was cut."""
_SEEN = 6.0
"""Grey levels by which a thing's pixels must differ if it is taken for resting."""
_LEAST_AREA = 40
"""Pixels of a thing, where it is cut."""


class CutOut(FolderPerVideo):
    """Writes `<video>/000000.png`, `000000_mask.png`, … and `cutouts.json`."""

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        per_video: int,
        gaps: Sequence[int],
        extensions: Sequence[str],
    ) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of videos.
            output: folder for the cut-outs.
            per_video: frames of each video that are looked at, evenly spread.
            gaps: in frames, between the two of a pair; taken by turns.
            extensions: of the files that are videos.

        Raises:
            UserError: an argument is out of range.
        """
        if per_video < 1:
            raise UserError(f"prepare.per_video must be at least 1, got {per_video}.")
        if not gaps or min(gaps) < 1:
            raise UserError(f"prepare.gaps must be a list of frames from 1, got {list(gaps)}.")
        super().__init__(root, output, extensions)
        self.per_video, self.gaps = per_video, list(gaps)

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "job": "cutouts",
            "root": str(self.root.resolve()),
            "per_video": self.per_video,
            "gaps": self.gaps,
        }

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Write the cut-outs of one video; raises `ClipReadError`."""
        video = open_video(self.root, unit)
        total = len(video.table.pts)
        if total <= max(self.gaps):
            raise ClipReadError(f"{unit} has {total} frames: too few.", file=unit)
        starts = np.unique(np.linspace(0, total - 1 - max(self.gaps), self.per_video).astype(int))
        folder, motions = self.folders[unit], {}
        flow = DISFlow("medium")
        with new_folder(self.output / folder, drafts) as draft:
            for place, start in enumerate(starts):
                pair = np.array([start, start + self.gaps[place % len(self.gaps)]])
                first, second = decoded(video, pair, _SIDE)
                scene = cut(first, second, flow)
                if scene is None:
                    continue
                name = f"{place:06d}"
                cv2.imwrite(str(draft / f"{name}.png"), scene.picture[..., ::-1])
                cv2.imwrite(str(draft / f"{name}_mask.png"), scene.mask)
                motions[f"{folder}/{name}"] = scene.motions.tolist()
        video.close()
        return {
            "folder": folder,
            "size": folder_size(self.output / folder),
            "motions": motions,
            "looked_at": len(starts),
        }

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """Whether the folder has all its pictures."""
        return bool(folder_size(self.output / str(result["folder"])) == result["size"])

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write the list of cut-outs."""
        motions = {k: m for result in results.values() for k, m in result["motions"].items()}
        write_text(self.output / LIST, json.dumps(dict(sorted(motions.items()))) + "\n")
        looked_at = sum(result["looked_at"] for result in results.values())
        return [
            f"{self.output / LIST}: {len(motions)} of {looked_at} frames have a clear cut-out",
            f"use it with data=worlds data.cutouts={self.output}",
        ]


def cut(first: NDArray[np.uint8], second: NDArray[np.uint8], flow: DISFlow) -> Scene | None:
    """What moves from one frame to the next; None if that is not clear.

    Args:
        first: (H, W, 3) RGB.
        second: alike.
        flow: estimates the motion between them.
    """
    flows, valid = flow(np.stack([first, second]))
    whole = flows[0]
    known = np.ones(whole.shape[1:], np.bool_) if valid is None else valid[0]
    motion = torch.from_numpy(whole)[None], torch.from_numpy(known)[None]
    camera = dominant_motion(*motion)[0].numpy()
    field = whole - camera
    length = np.hypot(*field)
    moving = float(((length > _MOVES) & known).mean())
    if not _MOVING[0] <= moving <= _MOVING[1] or known.mean() < _LEAST_KNOWN:
        return None
    if np.median(length) > _CAMERA:
        return None
    found = _outlined(first, length, known)
    if found is None:
        return None
    mask: Any = cv2.resize(found, first.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    mask = _really_moving(mask, _unlike(first, second, camera), _unlike(first, second, whole))
    if not mask.any():
        return None
    fits = [_affine(field, (mask == n) & known) for n in range(1, int(mask.max()) + 1)]
    return Scene(first, mask, np.stack(fits))


def _outlined(
    picture: NDArray[np.uint8], length: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.uint8] | None:
    """(h, w) numbers of the things that move, at the size of cutting."""
    scale = _CUT_SIDE / min(length.shape)
    size = round(length.shape[1] * scale), round(length.shape[0] * scale)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    length = np.asarray(
        cv2.resize(length, size, interpolation=cv2.INTER_AREA) / np.percentile(length, 97),
        np.float32,
    )
    known = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    probable = length > 0.4
    sure = cv2.erode((length > 0.6).astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2) > 0
    away = cv2.distanceTransform((~probable).astype(np.uint8), cv2.DIST_L2, 5)
    ground = (away > 0.08 * _CUT_SIDE) & (length < 0.25) | known & (length < 0.12)
    if not sure.any() or not ground.any():
        return None
    labels = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[ground & ~probable], labels[sure] = cv2.GC_BGD, cv2.GC_FGD
    cv2.setRNGSeed(0)  # its k-means would start differently at every call
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(small[..., ::-1])
    cv2.grabCut(bgr, labels, (0, 0, 0, 0), *models, 3, cv2.GC_INIT_WITH_MASK)
    found: Any = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.medianBlur(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), 5)
    count, pieces = cv2.connectedComponents(found)
    mask = np.zeros(found.shape, np.uint8)
    number = 0
    for piece in range(1, count):
        where = pieces == piece
        if where.sum() >= _LEAST_AREA and sure[where].mean() > 0.2 and number < 254:
            number += 1
            mask[where] = number
    taken = mask > 0
    union = (taken | probable).sum()
    if number == 0 or (taken & probable).sum() / union < _AGREE:
        return None
    return mask


def _unlike(
    first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(H, W): by how many grey levels frames differ, if the second is seen along a flow."""
    height, width = first.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[1]
    seen = cv2.remap(second, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.abs(seen.astype(np.float32) - first).mean(-1), np.float32)


def _really_moving(
    mask: NDArray[np.uint8], resting: NDArray[np.float32], moving: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Keep the things whose motion explains the picture: in plain areas flow is noise."""
    kept = np.zeros_like(mask)
    number = 0
    for piece in range(1, int(mask.max()) + 1):
        where = mask == piece
        before, after = float(resting[where].mean()), float(moving[where].mean())
        if before >= _SEEN and after < 0.6 * before:
            number += 1
            kept[where] = number
    return kept


def _affine(field: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(2, 3): the motion of a thing by least squares, drawn towards a shift where it is small."""
    y, x = np.nonzero(where)
    if len(x) < 8:
        return np.array([[1.0, 0, 0], [0, 1.0, 0]])
    middle = np.array([x.mean(), y.mean()])
    design = np.stack([x - middle[0], y - middle[1], np.ones(len(x))], 1)
    ridge = np.diag([30.0 * len(x), 30.0 * len(x), 0])
    target = field[:, y, x].T
    linear = np.linalg.solve(design.T @ design + ridge, design.T @ target).T  # (2, 3)
    matrix = np.eye(2) + linear[:, :2]
    return np.column_stack([matrix, middle + linear[:, 2] - matrix @ middle])

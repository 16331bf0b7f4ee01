"""The task JHMDB: follow the joints that the first frame has, score the share of correct ones."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from torch import nn

from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_file
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.overlay import draw_points
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import Auto, FittingPropagator, Propagation
from selfsup_motion.tasks.propagation.followers import Baseline, Follower, make_followers
from selfsup_motion.tasks.propagation.keypoints import Normaliser, Points, normalised_errors, pck
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import Frame, LabelledVideo, LabelledVideos, chosen
from selfsup_motion.tasks.propagation.tracking import follow_points
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.names import register_handler
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
_NORMALISERS: tuple[Normaliser, ...] = ("instance", "max")


class Jhmdb(Task):
    """Propagate Gaussian dots, read the joints out, score PCK.

    Args:
        source: videos with keypoints.
        sequences: names of those to work on; None: all.
        propagator: copies the labels.
        baselines: what is scored beside the encoder, see `followers.baselines`.
        seed: of the weights of an untrained encoder.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
        size: (height, width) that frames are resized to, whatever their proportions; None: they
            keep their size.
        sigma: of the dots, in cells.
        short_side: that frames are resized to in their own proportions, if `size` is None; None:
            they are not resized; "auto": as the propagator has it.

    Attributes:
        propagation: what `run` has followed with.
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "sequences", "encoder": "image"}
    draws: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: LabelledVideos,
        sequences: Sequence[str] | None,
        propagator: LabelPropagator | FittingPropagator,
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
        size: tuple[int, int] | None,
        sigma: float,
        short_side: int | Auto | None = "auto",
    ) -> None:
        if size is not None and short_side != "auto":
            raise UserError(
                f"task.short_side={short_side}: task.size={list(size)} gives the size of frames "
                "already; set task.size=null for frames in their own proportions."
            )
        if sigma <= 0 or (size is not None and min(size) < 8):
            raise ValueError(f"sigma must be positive and size at least 8, got {sigma}, {size}")
        self.source, self.propagator, self.baselines = source, propagator, baselines
        self.seed = seed
        self.propagation: Propagation | None = None
        self.beside: dict[str, dict[str, float]] = {}
        self.names = chosen(source, sequences)
        self.layer, self.precision = layer, precision
        self.size, self.sigma = size, sigma
        self.short_side = None if size is not None else short_side

    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """Do all of it.

        Args:
            encoder: see `FrameEncoder`.
            folder: gets `predictions/<n>.dat`, pickles of (2, K, T) in cells that CRW's
                `eval_pck.py` reads, `points/<sequence>.npy`, (T, K, 2) in pixels, `pck.csv` and
                `per_sequence.csv`, and the same in `baselines/<name>`.
            device: to compute on.
            reuse: take over the sequences whose results the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            `PCK_instance@0.1` … `PCK_max@0.5` in per cent; without them if nothing can be scored.

        Raises:
            UserError: a file is missing or wrong.
        """
        followers = make_followers(
            encoder, self.propagator, self.baselines,
            layer=self.layer, precision=self.precision, device=device, folder=folder,
            seed=self.seed, short_side=self.short_side,
        )  # fmt: skip
        self.propagation = followers[0].propagation
        videos = [self.source.open(name) for name in self.names]
        total, done = sum(len(video.frame_names) for video in videos), 0
        truth: dict[str, Points] = {}
        found: dict[str, dict[str, Points]] = {follower.name: {} for follower in followers}
        for follower in followers:
            (follower.folder / "predictions").mkdir(parents=True, exist_ok=True)
        for number, video in enumerate(videos):
            known = video.keypoints()
            if known is None:
                raise UserError(f"{video.name}: has no keypoints, which this task needs.")
            done += len(video.frame_names)
            if not np.isfinite(known[0]).any():
                log.warning("%s: left out, the first frame shows no joint.", video.name)
                continue
            for follower in followers:
                stored = follower.folder / "points" / f"{video.name}.npy"
                points = _stored_points(stored, known.shape) if reuse else None
                if points is None:
                    points = self._track(follower, video, known)
                    with new_file(stored) as draft, draft.open("wb") as stream:
                        np.save(stream, points)
                dump = follower.folder / f"predictions/{number}.dat"
                self._dump(points, video, follower.encoder.stride, dump)
                found[follower.name][video.name] = points
            truth[video.name] = known
            if progress:
                progress(done, total, video.name)
        metrics = {f.name: self._score(found[f.name], truth, f.folder) for f in followers}
        self.beside = {name: values for name, values in metrics.items() if name and values}
        return metrics[""]

    def summary(self) -> dict[str, Any]:
        return {} if self.propagation is None else {"propagator": self.propagation.summary()}

    def tracked(self, folder: Path) -> list[str]:
        """Names of the sequences whose results `folder` has."""
        return [name for name in self.names if (folder / "points" / f"{name}.npy").is_file()]

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames of a sequence with what `run` found in them, (H, W, 3) uint8."""
        points = np.load(folder / "points" / f"{name}.npy")
        for frame, row in zip(self.source.open(name).frames(), points, strict=True):
            yield draw_points(np.ascontiguousarray(frame.transpose(1, 2, 0)), row)

    def _track(self, follower: Follower, video: LabelledVideo, known: Points) -> Points:
        """(T, K, 2) in pixels of the video."""
        scale = np.ones(2)
        frames = video.frames()
        if self.size is not None:
            height, width = next(video.frames()).shape[1:]
            scale = np.array([self.size[1] / width, self.size[0] / height])
            frames = (_resized(frame, self.size) for frame in frames)
        tracks = follow_points(
            follower.encoder, follower.propagation.propagator, frames, known[0] * scale, self.sigma
        )
        rows = [np.where(row < 0, -1.0, row / scale) for row in tracks]
        points = np.stack(rows)
        points[0] = np.where(np.isfinite(known[0]), known[0], -1)
        return points

    def _dump(self, points: Points, video: LabelledVideo, stride: int, path: Path) -> None:
        """In cells, as the published code stores them."""
        height, width = next(video.frames()).shape[1:]
        rows, columns = self.size or (height, width)
        cells = points * [columns / width / stride, rows / height / stride]
        np.where(points < 0, -1.0, cells).transpose(2, 1, 0).dump(path)

    def _score(
        self, found: dict[str, Points], truth: dict[str, Points], folder: Path
    ) -> dict[str, float]:
        scored = [name for name in found if len(found[name]) > 1]
        for name in sorted(found.keys() - set(scored)):
            log.warning("%s: not scored: its only frame is the given one.", name)
        if not scored:
            return {}
        metrics: dict[str, float] = {}
        rows: list[list[object]] = []
        per_clip: dict[str, list[float]] = {name: [] for name in scored}
        for normaliser in _NORMALISERS:
            errors = [normalised_errors(found[n], truth[n], normaliser) for n in scored]
            for threshold, row in zip(THRESHOLDS, pck(errors, THRESHOLDS), strict=True):
                metrics[f"PCK_{normaliser}@{threshold}"] = float(row[-1])
                rows.append([normaliser, threshold, *row.tolist()])
            for name, error in zip(scored, errors, strict=True):
                per_clip[name] += pck([error], THRESHOLDS)[:, -1].tolist()
        joints = range(len(rows[0]) - 3)
        _write(folder / "pck.csv", ["normaliser", "threshold", *joints, "mean"], rows)
        sequences = [[name, *values] for name, values in per_clip.items()]
        _write(folder / "per_sequence.csv", ["sequence", *metrics], sequences)
        return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _stored_points(path: Path, shape: tuple[int, ...]) -> Points | None:
    """The result of an earlier run; None if there is none that is whole."""
    if not path.is_file():
        return None
    try:
        points = np.load(path, allow_pickle=False)
        if points.shape == shape and np.isfinite(points).all():
            return np.asarray(points, np.float64)
    except (OSError, ValueError, EOFError, TypeError):
        pass
    log.warning("%s is damaged: computed again.", path)
    return None


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    image = np.ascontiguousarray(frame.transpose(1, 2, 0))
    return np.asarray(cv2.resize(image, size[::-1]), np.uint8).transpose(2, 0, 1)


def _write(path: Path, header: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors=register_handler()) as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        # a joint that never counts has no share
        for row in rows:
            missing = [isinstance(value, float) and np.isnan(value) for value in row]
            writer.writerow(["" if gone else v for v, gone in zip(row, missing, strict=True)])

"""The task TAP-Vid: track any point that is asked for, and tell where it is hidden."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from selfsup_motion.files.atomic import new_file
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.overlay import draw_points
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import FittingPropagator
from selfsup_motion.tasks.propagation.followers import (
    Baseline,
    Follower,
    baselines,
    evaluated_follower,
)
from selfsup_motion.tasks.propagation.matching import Bools, FeatureMatcher, Floats
from selfsup_motion.tasks.propagation.sequences import chosen
from selfsup_motion.tasks.propagation.tables import Values, mean_of, write_table
from selfsup_motion.tasks.propagation.tapvid_files import TrackedVideo, TrackedVideos
from selfsup_motion.tasks.propagation.tapvid_metrics import (
    QueryMode,
    sample_queries,
    tapvid_metrics,
)
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)

_SIDE = 256
"""Scores are in pixels of an image of this height and width, whatever the encoder sees."""


class TapVid(Task):
    """Find the queries in all frames, score positions and occlusion.

    The score is the mean over the videos. Those without a query, or without a visible point to
    score, are named and left out.

    Args:
        source: videos with tracks.
        sequences: names of those to work on; None: all.
        tracker: finds the points.
        queries: "first": each track from its first visible frame on; "strided": from every fifth
            frame, forward and backward.
        size: (height, width) that frames are resized to, whatever their proportions. The official
            one is 256x256; results of larger frames are not comparable.
        baselines: what is scored beside the encoder, see `followers.baselines`.
        seed: of the weights of an untrained encoder.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
    """

    needs: ClassVar[Needs] = {"labels": "tracks", "encoder": "image"}
    unit: ClassVar[str] = "videos"
    draws: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: TrackedVideos,
        sequences: Sequence[str] | None,
        tracker: FeatureMatcher,
        queries: QueryMode,
        size: tuple[int, int],
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
    ) -> None:
        if min(size) < 8:
            raise ValueError(f"size must be at least 8, got {list(size)}")
        self.source, self.names = source, chosen(source, sequences)
        self.tracker, self.queries, self.size = tracker, queries, size
        self.baselines, self.seed = baselines, seed
        self.layer, self.precision = layer, precision
        self.beside: dict[str, dict[str, float]] = {}
        self._settings: dict[str, Any] = {}

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
            folder: gets `predictions/<video>.npz` with the arrays that the official
                `compute_tapvid_metrics` takes: `query_points` (Q, 3) t, y, x, `pred_tracks`
                (Q, T, 2) and `pred_occluded` (Q, T), in pixels of 256x256; `per_sequence.csv`; and
                the same in `baselines/<name>`.
            device: to compute on.
            reuse: take over the videos whose results the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            `delta_avg`, `AJ`, `OA` and their parts, see `tapvid_metrics`; without them if no video
            can be scored.

        Raises:
            UserError: a file is missing or wrong.
        """
        # it only makes the features, nothing is propagated
        result = evaluated_follower(
            encoder, FittingPropagator(), layer=self.layer, precision=self.precision,
            device=device, folder=folder,
        )  # fmt: skip
        others = baselines(
            self.baselines, result, layer=self.layer, precision=self.precision, seed=self.seed
        )
        self._settings = self.tracker.settings(result.encoder)
        log.info("Queries: %s. Tracker: %s.", self.queries, _shown(self._settings))
        rows: dict[str, dict[str, Values]] = {f.name: {} for f in (result, *others)}
        for number, name in enumerate(self.names, start=1):
            video = self.source.open(name)
            points = video.points * _SIDE
            queries, tracks = sample_queries(points, video.occluded, self.queries)
            if not len(queries):
                log.warning(
                    "%s: left out, none of its %d tracks is visible in a frame that is asked.",
                    name, len(points),
                )  # fmt: skip
                continue
            for follower in (result, *others):
                path = follower.folder / "predictions" / f"{name}.npz"
                stored = _stored(path, queries, video) if reuse else None
                found, hidden = stored or self._track(follower, video, queries, path)
                truth = points[tracks], video.occluded[tracks]
                scores = tapvid_metrics(queries, *truth, found, hidden, self.queries)
                rows[follower.name][name] = scores
            if math.isnan(rows[""][name]["delta_avg"]):
                log.warning("%s: not scored, no point is visible in a frame that counts.", name)
                for scored in rows.values():
                    del scored[name]
            if progress:
                progress(number, len(self.names), name)
        for follower in (result, *others) if rows[""] else ():
            write_table(follower.folder / "per_sequence.csv", "sequence", rows[follower.name])
        metrics = {name: mean_of(list(scored.values())) for name, scored in rows.items()}
        self.beside = {name: values for name, values in metrics.items() if name and values}
        return metrics[""]

    def summary(self) -> dict[str, Any]:
        return {"queries": self.queries, "tracker": self._settings}

    def tracked(self, folder: Path) -> list[str]:
        """Names of the videos whose results `folder` has."""
        return [name for name in self.names if (folder / f"predictions/{name}.npz").is_file()]

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames of a video with the points that `run` has found visible, (H, W, 3) uint8."""
        video = self.source.open(name)
        with np.load(folder / "predictions" / f"{name}.npz", allow_pickle=False) as arrays:
            # from the corner of the image to the centre of a pixel
            scale = np.array(video.frames.shape[:1:-1]) / _SIDE
            points = arrays["pred_tracks"] * scale - 0.5
            points = np.where(arrays["pred_occluded"][..., None], -1.0, points.clip(0))
        for time, frame in enumerate(video.frames):
            yield draw_points(np.ascontiguousarray(frame.transpose(1, 2, 0)), points[:, time])

    def _track(
        self, follower: Follower, video: TrackedVideo, queries: Floats, path: Path
    ) -> tuple[Floats, Bools]:
        """Find the queries and keep what was found; in pixels of 256x256."""
        frames = np.stack([_resized(frame, self.size) for frame in video.frames])
        scale = np.array([1, self.size[0] / _SIDE, self.size[1] / _SIDE])
        points, visible = self.tracker.track(follower.encoder, frames, queries * scale)
        points = points / scale[:0:-1]
        with new_file(path) as draft, draft.open("wb") as stream:
            np.savez(stream, query_points=queries, pred_tracks=points, pred_occluded=~visible)
        return points, ~visible


def _stored(path: Path, queries: Floats, video: TrackedVideo) -> tuple[Floats, Bools] | None:
    """The result of an earlier run; None if there is none that is whole."""
    if not path.is_file():
        return None
    shape = len(queries), len(video.frames)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            asked, points = arrays["query_points"], arrays["pred_tracks"]
            hidden = arrays["pred_occluded"]
        fits = points.shape == (*shape, 2) and hidden.shape == shape and hidden.dtype == bool
        if fits and np.array_equal(asked, queries) and np.isfinite(points).all():
            return points, hidden
    except Exception:  # of damaged bytes NumPy and zipfile pass on whatever they stumble over
        pass
    log.warning("%s is damaged: computed again.", path)
    return None


def _resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(3, H, W) -> (3, *size)."""
    if frame.shape[1:] == tuple(size):
        return frame
    shrinks = frame.shape[1] > size[0] and frame.shape[2] > size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = np.ascontiguousarray(frame.transpose(1, 2, 0))
    small = cv2.resize(image, (size[1], size[0]), interpolation=method)
    return np.asarray(small, np.uint8).transpose(2, 0, 1)


def _shown(settings: dict[str, Any]) -> str:
    if settings["name"] == "none":
        return "none, the points stay where they are"
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name != "name")
